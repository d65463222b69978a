#!/usr/bin/env python3
"""Routed attention against cuDNN, FlexAttention, serial dispatch and the published block-sparse
library (where it can be imported) on one GPU, through PyTorch, in turns; shapes of Qwen3-8B.

  bench/attention/run --device cuda --json out.json

First the outputs and gradients are compared, then times: medians of calls that are issued one after
the other and waited for once. A line per figure: what was measured, and must / target / floor.
--device cpu --small tries the script where there is no GPU: its figures mean nothing."""
import argparse
import json
import os
import sys
import tempfile
import time

import torch
import torch.nn.functional as F

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "gpu"))
from elastron import Elastron  # noqa: E402
from peer import BLOCK, LOCAL, SINK, Peer, dense_backend, flex, in_turns  # noqa: E402

try:
    import block_sparse_attn  # the published library's kernels
except ImportError:
    block_sparse_attn = None


PARTS = ["outputs", "forward", "dispatch", "backward", "flex", "choice", "shards"]


class Sizes:
    heads, kv_heads, dim, sink, local = 32, 8, 128, SINK, LOCAL

    @classmethod
    def shrink(cls):
        cls.heads, cls.dim, cls.sink, cls.local = 16, 32, 64, 128


class Shape:
    """Tensors of one length for the peer, and what it does with them."""

    def __init__(self, peer, length, full):
        """full: how many of the kv heads have full attention, the first ones"""
        self.peer, self.length, self.full = peer, length, full
        group = Sizes.heads // Sizes.kv_heads
        self.q = peer.random(1, Sizes.heads, length, Sizes.dim, grad=True)
        self.k, self.v = (peer.random(1, Sizes.kv_heads, length, Sizes.dim, grad=True) for _ in range(2))
        self.d = peer.random(1, Sizes.heads, length, Sizes.dim)
        self.open = torch.arange(Sizes.heads, device=peer.device) < full * group

    def settings(self, **more):
        return dict(tokens=self.length, q_heads=Sizes.heads, kv_heads=Sizes.kv_heads,
                    head_dim=Sizes.dim, sink=Sizes.sink, local=Sizes.local,
                    full=self.full / Sizes.kv_heads, times=2, **more)

    def dense(self):
        with dense_backend(self.peer.device):
            return F.scaled_dot_product_attention(self.q, self.k, self.v, is_causal=True,
                                                  enable_gqa=True)

    def flex(self):
        """routed attention as one FlexAttention call"""
        attend = flex(self.length, self.peer.device, self.open, Sizes.sink, Sizes.local)
        return lambda: attend(self.q, self.k, self.v)

    def serial(self, sparse):
        """the heads taken apart, one kernel for each kind, and put together again"""
        group, full = Sizes.heads // Sizes.kv_heads, self.full
        kinds = [torch.arange(full, device=self.peer.device),
                 torch.arange(full, Sizes.kv_heads, device=self.peer.device)]
        rows = [(kind[:, None] * group + torch.arange(group, device=self.peer.device)).flatten()
                for kind in kinds]

        def dense(q, k, v):
            with dense_backend(self.peer.device):
                return F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)

        def run():
            out = torch.empty_like(self.q)
            for attend, kv, heads in zip((dense, sparse), kinds, rows):
                if len(kv):
                    q = self.q.index_select(1, heads)
                    k, v = (x.index_select(1, kv) for x in (self.k, self.v))
                    out.index_copy_(1, heads, attend(q, k, v))
            return out
        return run

    def published(self):
        """the published library: dense and streaming heads of blocks of 128 in one call"""
        q, k, v = (x[0].transpose(0, 1).contiguous() for x in (self.q, self.k, self.v))
        device = self.peer.device
        cu = torch.tensor([0, self.length], dtype=torch.int32, device=device)
        kind = torch.where(self.open, 0, -1).to(torch.int32)
        sizes = torch.tensor([Sizes.sink // 128, Sizes.local // 128] * Sizes.heads,
                             dtype=torch.int32, device=device)
        return lambda: block_sparse_attn.block_sparse_attn_func(
            q, k, v, cu, cu, kind, sizes, None, self.length, self.length, 0.0, is_causal=True)


def without_grad(call):
    def run():
        with torch.no_grad():
            return call()
    return run


def backward(call, shape):
    out = call()
    return lambda: torch.autograd.grad(out, (shape.q, shape.k, shape.v), shape.d, retain_graph=True)


class Table:
    def __init__(self, ours, peer, arguments):
        self.ours, self.peer, self.a = ours, peer, arguments
        self.begin, self.rows = time.monotonic(), []
        self.results = {"device": ours.device, "full_attention": ours.full_attention,
                        "torch": torch.__version__, "left_out": []}

    def late(self, what):
        if time.monotonic() - self.begin < self.a.seconds:
            return False
        self.results["left_out"].append(what)
        return True

    def time(self, case, settings, call=None):
        """-> our milliseconds, the peer's, our answer"""
        if self.peer.device == "cuda":
            torch.cuda.empty_cache()
        return in_turns(self.ours, (case, settings), call, self.peer, 2, self.a.turns)

    def add(self, name, value, bounds, higher, **more):
        """bounds: must, target, floor; None where there is none. higher: more is better."""
        verdicts = ["" if b is None else "yes" if (value >= b if higher else value <= b) else "no"
                    for b in bounds]
        row = {"name": name, "value": value, "must": bounds[0], "target": bounds[1],
               "floor": bounds[2], "must_met": verdicts[0], **more}
        if bounds[2]:
            row["floor_gap"] = bounds[2] / value if higher else value / bounds[2]
        self.rows.append(row)
        show = " / ".join("-" if b is None else f"{b:g}" for b in bounds)
        extra = ", ".join(f"{k} {v:.4g}" for k, v in more.items())
        print(f"{name:66s} {value:8.3f}   must/target/floor {show}   "
              f"must met: {verdicts[0] or '-'}   {extra}", flush=True)
        self.results["rows"] = self.rows
        if self.a.json:
            with open(self.a.json, "w") as out:
                json.dump(self.results, out, indent=1)


def check_outputs(t, length):
    """Ours against FlexAttention under the same mask, forward and backward; ends the run if they differ."""
    s = Shape(t.peer, length, Sizes.kv_heads // 4)
    with tempfile.TemporaryDirectory() as folder:
        inputs, outputs = folder + "/in", folder + "/out"
        with open(inputs, "wb") as file:
            for x in (s.q, s.k, s.v, s.d):
                x[0].transpose(0, 1).contiguous().view(torch.int16).cpu().numpy().tofile(file)
        t.ours.ask("attention", **s.settings(both=1, backward=1, inputs=inputs, outputs=outputs))
        t.ours.ask("drop")
        with open(outputs, "rb") as file:
            ours = torch.frombuffer(bytearray(file.read()), dtype=torch.bfloat16)
    out = s.flex()()
    theirs = [out, *torch.autograd.grad(out, (s.q, s.k, s.v), s.d)]
    for name, want in zip(("out", "dq", "dk", "dv"), theirs):
        want = want[0].transpose(0, 1).float().cpu()
        got, ours = ours[:want.numel()].reshape(want.shape).float(), ours[want.numel():]
        error = (got - want).abs().max().item() / want.abs().max().item()
        print(f"{name}: largest difference {error:.4f} of the largest value")
        if not error < 0.02:
            sys.exit(f"error: {name} differs from FlexAttention's at {length} tokens: times mean nothing")


def gflops(length, ms, share=1.0, products=2):
    return 1e-6 * 2.0 * Sizes.heads * Sizes.dim * share * length * (length + 1) / 2 * products / ms


def forwards(t, length, limits):
    s = Shape(t.peer, length, Sizes.kv_heads)
    for own, by in ((0, "cuDNN and ours"), (1, "ours")):
        name = f"two-output forward / dense forward, {length}, {by}"
        if t.late(name):
            return
        ms, dense, _ = t.time("attention", {**s.settings(both=1, own=own), "full": 0.25},
                              without_grad(s.dense))
        t.add(name, ms / dense, limits["both"], False, ms=ms, dense_ms=dense, gflops=gflops(length, ms))
    dense_own, _, _ = t.time("attention", s.settings(own=1))
    times = {}
    for full in range(Sizes.kv_heads + 1):
        name = f"T(MSR) / T(0) / (1 - ESR), {length}, {full} of {Sizes.kv_heads} full"
        if full not in (0, 2, 3, 4, 6) or t.late(name):
            continue
        ms, dense, notes = t.time("attention", {**s.settings(own=1), "full": full / Sizes.kv_heads},
                                  without_grad(s.dense))
        times[full] = ms, dense
        t.add(name, ms / dense_own / (1 - notes["esr"]), (1.08, None, 1.0), False, esr=notes["esr"],
              ms=ms, gflops=gflops(length, ms, 1 - notes["esr"]))
    if 2 in times and 3 in times:  # a model of MSR 0.7 has heads of both mixes
        mix = [0.6 * two + 0.4 * three for two, three in zip(times[2], times[3])]
        t.add(f"dense forward / routed forward at MSR 0.7, {length}", mix[1] / mix[0],
              limits["routed"], True, ms=mix[0], dense_ms=mix[1])


def dispatch(t, length, paper):
    s = Shape(t.peer, length, Sizes.kv_heads // 4)
    sparse = flex(length, t.peer.device, None, Sizes.sink, Sizes.local)
    peers = [("serial dispatch (cuDNN, FlexAttention)", s.serial(sparse))]
    if block_sparse_attn and t.peer.device == "cuda":
        peers.append(("the published library", s.published()))
    for name, call in peers:
        name += f" / one launch at MSR 0.75, {length}"
        if t.late(name):
            return
        ms, theirs, _ = t.time("attention", s.settings(own=1), without_grad(call))
        t.add(name, theirs / ms, (paper, None, None), True, ms=ms, peer_ms=theirs)


def backwards(t, length, limits):
    name = f"selected-branch backward with dz at MSR 0.7 / dense backward, {length}"
    s = Shape(t.peer, length, Sizes.kv_heads)
    if t.late(name):
        return
    call, mix = backward(s.dense, s), [0.0, 0.0]
    for full, weight in ((2, 0.6), (3, 0.4)):
        ms, dense, _ = t.time("attention", {**s.settings(own=1, both=1, backward=1),
                                            "full": full / Sizes.kv_heads}, call)
        mix = [mix[0] + weight * ms, mix[1] + weight * dense]
    t.add(name, mix[0] / mix[1], limits, False, ms=mix[0], dense_ms=mix[1])


def against_flex(t, length):
    s = Shape(t.peer, length, Sizes.kv_heads // 4)
    call = s.flex()
    for way, ours, theirs, limits in (
            ("forward", {}, without_grad(call), (1.2, 1.5, None)),
            ("backward", dict(backward=1), backward(call, s), (1.3, 1.6, None))):
        name = f"FlexAttention / ours, {way} at MSR 0.75, {length}"
        if t.late(name):
            return
        ms, flex_ms, _ = t.time("attention", s.settings(own=1, **ours), theirs)
        t.add(name, flex_ms / ms, limits, True, ms=ms, flex_ms=flex_ms)


def xattention(t, length, limits):
    name = f"XAttention's scores and choice / dense forward, {length}"
    if t.late(name):
        return
    s = Shape(t.peer, length, 0)
    ms, dense, _ = t.time("choice", s.settings(), without_grad(s.dense))
    t.add(name, ms / dense, limits, False, ms=ms, dense_ms=dense)


def shards(t, length, ranks=8):
    """a rank of a context group after the other: who has most, over the mean"""
    s = Shape(t.peer, length, Sizes.kv_heads // 4)
    for kind, limits in (("gathered K,V", (1.05, None, 1.0)), ("Ulysses", (None, None, 1.0))):
        name = f"attention of {ranks} context ranks at MSR 0.75, {kind}, max / mean, {length}"
        if t.late(name):
            continue
        ms = []
        for rank in range(ranks):
            ms.append(t.ours.ask("shard", **s.settings(ranks=ranks, rank=rank, both=1,
                                                       ulysses=int(kind == "Ulysses")))["milliseconds"])
            t.ours.ask("drop")
        t.add(name, max(ms) * ranks / sum(ms), limits, False, slowest_ms=max(ms), fastest_ms=min(ms))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--bench", required=True)
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=float("inf"), help="begin no case after that")
    parser.add_argument("--only", default="", help="of " + ",".join(PARTS))
    parser.add_argument("--lengths", default="32768,65536,262144", help="of the forward pass")
    parser.add_argument("--json")
    a = parser.parse_args()
    parts = a.only.split(",") if a.only else PARTS
    if not set(parts) <= set(PARTS):
        parser.error("--only takes " + ",".join(PARTS))
    if a.small:
        Sizes.shrink()
    torch.manual_seed(1)
    t = Table(Elastron(a.bench, a.device), Peer(a.device), a)
    print(f"{t.ours.device}; {t.ours.full_attention}; blocks of {BLOCK}, sink {Sizes.sink}, "
          f"local {Sizes.local}; "
          + ("with" if block_sparse_attn else "without") + " the published library")

    def of(length):
        return 448 + length // 512 if a.small else length
    none = (None, None, None)
    routed = {65536: (2.0, 2.5, 2.89), 262144: (2.2, 2.8, 3.21)}
    for part in parts:
        if part == "outputs":
            check_outputs(t, of(4096))
        elif part == "forward":
            for length in map(int, a.lengths.split(",")):
                both = none if length == 262144 else (1.30, 1.10, 1.00)
                forwards(t, of(length), {"both": both, "routed": routed.get(length, none)})
        elif part == "backward":
            backwards(t, of(65536), (0.55, 0.43, 0.346))
        elif part == "dispatch":
            for length, paper in ((16384, 1.82), (32768, 1.43), (65536, 1.23)):
                dispatch(t, of(length), paper)
        elif part == "flex":
            against_flex(t, of(32768))
        elif part == "choice":
            xattention(t, of(65536), (0.08, 0.05, 0.031))
        else:
            shards(t, of(65536))


main()
