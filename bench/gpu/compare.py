#!/usr/bin/env python3
"""Elastron against PyTorch on one GPU, in turns: linear layers, dense attention, head + loss, a router's
decision, a router-training step. Routed attention: bench/attention. Needs PyTorch (cuDNN SDPA,
FlexAttention) and elastron_bench_gpu.

  python3 bench/gpu/compare.py --bench build/bench/gpu/elastron_bench_gpu --json out.json

Both sides time calls that are issued one after the other and waited for once, in turns; medians are
compared. --device cpu with --small tries the script where there is no GPU: its figures mean nothing."""
import argparse
import json
import math
import time

import torch
import torch.nn.functional as F
from torch.utils.checkpoint import checkpoint

from elastron import Elastron
from peer import LOCAL, SINK, Peer, dense_backend, flex, in_turns


class PublishedStep(torch.nn.Module):
    """The published training: both branches of all heads forward and backward through autograd,
    blended by the gate, layers under checkpointing, frozen weights."""

    def __init__(self, peer, s):
        super().__init__()
        self.s, self.peer, dim = s, peer, 128
        e, f, q, k = s["hidden"], s["intermediate"], s["q_heads"] * dim, s["kv_heads"] * dim
        shapes = {"q": (q, e), "k": (k, e), "v": (k, e), "o": (e, q), "gate": (f, e), "up": (f, e),
                  "down": (e, f)}
        self.w = [{n: peer.random(*shape, scale=0.02) for n, shape in shapes.items()}
                  for _ in range(s["layers"])]
        self.ones = torch.ones(e, device=peer.device, dtype=torch.bfloat16)
        self.head_ones = torch.ones(dim, device=peer.device, dtype=torch.bfloat16)
        self.table = peer.random(s["vocab"], e, scale=0.02)
        self.head = peer.random(s["vocab"], e, scale=0.02)
        linear, silu = torch.nn.Linear, torch.nn.SiLU
        self.task = torch.nn.ModuleList(torch.nn.Sequential(
            linear(dim, 4 * dim), silu(), linear(4 * dim, dim)) for _ in self.w)
        self.router = torch.nn.ModuleList(torch.nn.Sequential(
            linear(dim, 4 * dim), silu(), linear(4 * dim, dim), silu(), linear(dim, 2))
            for _ in self.w)
        for router in self.router:
            torch.nn.init.zeros_(router[-1].weight)
            with torch.no_grad():
                router[-1].bias.copy_(torch.tensor([0.0, math.log((1 - s["msr"]) / s["msr"])]))
        self.to(peer.device)
        self.adam = torch.optim.AdamW(self.parameters(), lr=0.0)
        t = s["tokens"]
        angle = torch.arange(t, device=peer.device)[:, None] * 1e6 ** (
            -torch.arange(0, dim, 2, device=peer.device) / dim)
        self.cos, self.sin = (x.to(torch.bfloat16) for x in (angle.cos(), angle.sin()))
        self.sparse = flex(t, peer.device)
        self.ids = torch.arange(t, device=peer.device) * 7919 % s["vocab"]

    def rope(self, x):
        a, b = x.chunk(2, -1)
        return torch.cat([a * self.cos - b * self.sin, b * self.cos + a * self.sin], -1)

    def layer(self, x, i):
        s, w, dim, t = self.s, self.w[i], 128, x.shape[0]
        n = F.rms_norm(x, (s["hidden"],), self.ones, 1e-6)
        heads = lambda y, count: y.view(t, count, dim).transpose(0, 1)[None]
        q = F.rms_norm(heads(n @ w["q"].T, s["q_heads"]), (dim,), self.head_ones, 1e-6)
        k = F.rms_norm(heads(n @ w["k"].T, s["kv_heads"]), (dim,), self.head_ones, 1e-6)
        v = heads(n @ w["v"].T, s["kv_heads"])
        pooled = torch.cat([k[:, :, :100], k[:, :, -100:]], 2).float().mean(2)
        logits = self.router[i](self.task[i](pooled))
        noise = -torch.log(-torch.log(torch.rand_like(logits) + 1e-8) + 1e-8)
        p = torch.softmax(logits + noise, -1)[..., 1]
        z = ((p > 0.5).float() + p - p.detach()).to(torch.bfloat16)
        q, k = self.rope(q), self.rope(k)
        with dense_backend(self.peer.device):
            full = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
        sparse = self.sparse(q, k, v)
        zq = z.repeat_interleave(s["q_heads"] // s["kv_heads"], 1)[:, :, None, None]
        out = (zq * full + (1 - zq) * sparse)[0].transpose(0, 1).reshape(t, -1)
        x = x + out @ w["o"].T
        n = F.rms_norm(x, (s["hidden"],), self.ones, 1e-6)
        return x + (F.silu(n @ w["gate"].T) * (n @ w["up"].T)) @ w["down"].T

    def run(self):
        x = F.embedding(self.ids, self.table)
        for i in range(self.s["layers"]):
            x = checkpoint(self.layer, x, i, use_reentrant=False)
        x = F.rms_norm(x, (self.s["hidden"],), self.ones, 1e-6)
        count = self.ids.numel() - 1

        def part(rows, targets):
            return F.cross_entropy((rows @ self.head.T).float(), targets, reduction="sum")
        loss = sum(checkpoint(part, x[b:min(b + 2048, count)], self.ids[b + 1:min(b + 2049, count + 1)],
                              use_reentrant=False) for b in range(0, count, 2048)) / count
        loss.backward()
        self.adam.step()
        self.adam.zero_grad(set_to_none=True)


def sizes(small):
    """rows of products, hidden, intermediate, query heads, kv heads, vocabulary"""
    return (512, 256, 512, 4, 2, 1000) if small else (65536, 4096, 12288, 32, 8, 151936)


def step_shapes(small):
    _, e, f, heads, kv, vocab = sizes(small)
    return [dict(layers=4, tokens=t, msr=0.7, hidden=e, intermediate=f, q_heads=heads, kv_heads=kv,
                 vocab=vocab) for t in ((256,) if small else (8192, 65536))]


def cases(peer, small, wanted):
    """name, our request, the peer's call, how many calls at a time; wanted(name): what is made"""
    t, e, f, heads, kv, vocab = sizes(small)
    for s in step_shapes(small) if wanted("step") else ():
        step = PublishedStep(peer, s)
        yield f"step {s['tokens']}", ("step", dict(**s, times=1)), step.run, 1
        del step
    for name, out, inner in (("q_proj", heads * 128, e), ("kv_proj", kv * 128, e),
                             ("up_proj", f, e), ("down_proj", e, f)) if wanted("linear") else ():
        x, w = peer.random(t, inner), peer.random(out, inner, scale=0.02)
        yield (f"linear {name}", ("linear", dict(rows=t, out=out, **{"in": inner}, times=5)),
               lambda x=x, w=w: x @ w.T, 5)
        d = peer.random(t, out)
        yield (f"linear {name} dgrad", ("linear", dict(rows=t, out=out, **{"in": inner}, dgrad=1, times=5)),
               lambda d=d, w=w: d @ w, 5)
    for length in ((256,) if small else (65536, 8192)) if wanted("attention") else ():
        shape = dict(tokens=length, q_heads=heads, kv_heads=kv)
        q = peer.random(1, heads, length, 128, grad=True)
        k, v = (peer.random(1, kv, length, 128, grad=True) for _ in range(2))
        d = peer.random(1, heads, length, 128)

        def dense(q=q, k=k, v=v):
            with dense_backend(peer.device):
                return F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)

        def forward():
            with torch.no_grad():
                dense()
        out = dense()

        def backward(out=out, q=q, k=k, v=v, d=d):
            torch.autograd.grad(out, (q, k, v), d, retain_graph=True)
        for own, by in ((0, "cuDNN"), (1, "ours")):
            for way, call, more in (("forward", forward, {}), ("backward", backward, dict(backward=1))):
                yield (f"attention {way} {length} dense by {by}",
                       ("attention", dict(**shape, **more, full=1, own=own, times=2)), call, 2)
    if not wanted("head"):
        return
    x, w = peer.random(t, e, grad=True), peer.random(vocab, e, scale=0.02)
    targets = torch.arange(t, device=peer.device) * 7919 % vocab

    def head():
        for b in range(0, t, 2048):
            rows = x[b:b + 2048]
            F.cross_entropy((rows @ w.T).float(), targets[b:b + 2048], reduction="sum").backward()
        x.grad = None
    yield "head and loss", ("head", dict(rows=t, vocab=vocab, hidden=e, times=2)), head, 2
    del x, w
    for length in ((512, 2048) if small else (512, 65536, 1048576)):
        yield (f"router {length}", ("router", dict(tokens=length, kv_heads=kv, times=200)), None, 0)


def pairs(length, window=None):
    """Scores of one query head: causal, or of the window that streaming attention sees."""
    if window is None or length <= window:
        return length * (length + 1) / 2
    return pairs(window) + (length - window) * window


def floor_share(results, s):
    """A step's arithmetic at the rates PyTorch reached in this run for matrix products and for dense
    attention, over the step's time: both outputs forward, q, k, v, gate and up once more, one
    backward pass to the inputs, the selected branch's attention backward, head and its gradient."""
    cases = results["cases"]
    t, e, f, dim = s["tokens"], s["hidden"], s["intermediate"], 128
    q, kv = s["q_heads"] * dim, s["kv_heads"] * dim
    linears = {n: r for n, r in cases.items() if n.startswith("linear ") and "kv" not in n}
    attention = {way: [(int(n.split()[2]), r["torch_ms"]) for n, r in cases.items()
                       if n.startswith(f"attention {way} ") and " dense by " in n]
                 for way in ("forward", "backward")}
    if not linears or not all(attention.values()):
        return None
    shapes = {"q_proj": q * e, "up_proj": f * e, "down_proj": f * e}
    rows = results["rows"]
    work = sum(2.0 * rows * shapes[n.split()[1]] for n in linears)
    gemm = work / sum(r["torch_ms"] for r in linears.values())
    per_pair = {way: min(ms / (s["q_heads"] * pairs(length)) for length, ms in found)
                for way, found in attention.items()}
    projections, mlp = e * (2 * q + 2 * kv), 3 * e * f
    layer = 2.0 * t * (2 * (projections + mlp) + e * (q + 2 * kv) + 2 * e * f) / gemm
    full, sparse = pairs(t), pairs(t, SINK + LOCAL)
    msr = cases[f"step {t}"].get("msr", s["msr"])
    layer += s["q_heads"] * per_pair["forward"] * full
    backward = s["q_heads"] * per_pair["backward"] * ((1 - msr) * full + msr * sparse)
    # Below the first layer's router nothing is trained.
    floor = (s["layers"] * layer + (s["layers"] - 1) * backward
             + (2 * 2.0 * t * s["vocab"] * e - 2.0 * t * e * (q + 2 * kv)) / gemm)
    return floor / cases[f"step {t}"]["elastron_ms"]


def save(results, path):
    if path:
        with open(path, "w") as out:
            json.dump(results, out, indent=1)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--bench", required=True)
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--only", default="", help="cases that begin with one of these: linear,step")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=math.inf, help="begin no case after that")
    parser.add_argument("--json")
    a = parser.parse_args()
    torch.manual_seed(1)
    ours, peer = Elastron(a.bench, a.device), Peer(a.device)
    results = {"device": ours.device, "full_attention": ours.full_attention,
               "torch": torch.__version__, "rows": sizes(a.small)[0], "cases": {}, "left_out": []}
    begin = time.monotonic()
    only = [o for o in a.only.split(",") if o]

    def wanted(kind):
        return not only or any(o.startswith(kind) or kind.startswith(o) for o in only)
    for name, (case, settings), call, times in cases(peer, a.small, wanted):
        if only and not name.startswith(tuple(only)):
            continue
        if time.monotonic() - begin > a.seconds:
            results["left_out"].append(name)
            continue
        if a.device == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        mine, theirs, notes = in_turns(ours, (case, settings), call, peer, times, a.turns)
        row = {"elastron_ms": mine, **notes}
        if call:
            row["torch_ms"] = theirs
            row["ratio"] = row["torch_ms"] / row["elastron_ms"]
            row["torch_peak_bytes"] = peer.peak()
        results["cases"][name] = row
        print(name, json.dumps(row), flush=True)
        save(results, a.json)
    for s in step_shapes(a.small):
        if f"step {s['tokens']}" in results["cases"]:
            share = floor_share(results, s)
            results["cases"][f"step {s['tokens']}"]["share_of_floor"] = share
            print(f"step {s['tokens']}: share of the floor {share}")
    save(results, a.json)


main()
