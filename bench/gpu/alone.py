#!/usr/bin/env python3
"""Elastron's own times on a GPU, without a peer: what a machine without PyTorch can say, and what comes
first where time is short.

  python3 bench/gpu/alone.py products|attention --bench build/bench/gpu/elastron_bench_gpu --json out.json

A case that gives no answer within --limit seconds, or ends the program, is noted; the rest goes on. Ends
with 1 then. --small --device cpu tries the script where there is no GPU: its figures mean nothing."""
import argparse
import json
import math
import sys
import time

from elastron import Elastron, Failed


def products(small):
    t, e, f, heads, kv, vocab = (512, 256, 512, 4, 2, 1000) if small else (
        65536, 4096, 12288, 32, 8, 151936)
    for name, out, inner in (("q_proj", heads * 128, e), ("up_proj", f, e), ("down_proj", e, f),
                             ("kv_proj", kv * 128, e)):
        for way, more in (("", {}), (" dgrad", {"dgrad": 1})):
            yield (f"linear {name}{way}", "linear", {"rows": t, "out": out, "in": inner, **more},
                   2.0 * t * out * inner)
    yield "head and loss", "head", dict(rows=t, vocab=vocab, hidden=e), 4.0 * t * vocab * e
    yield "router", "router", dict(tokens=t, kv_heads=kv, times=100), 0


def attention(small):
    heads, kv, dim = (16, 8, 32) if small else (32, 8, 128)
    for length in (256, 512) if small else (8192, 65536):
        shape = dict(tokens=length, q_heads=heads, kv_heads=kv, head_dim=dim, times=2)
        dense = 2.0 * 2 * heads * dim * length * (length + 1) / 2
        for own, by in ((1, "ours"), (0, "cuDNN")):
            yield (f"dense forward {length} by {by}", "attention", dict(**shape, full=1, own=own), dense)
            yield (f"both outputs {length} by {by}", "attention",
                   dict(**shape, full=0.25, both=1, own=own), dense)
            yield (f"backward at MSR 0.75 {length} by {by}", "attention",
                   dict(**shape, full=0.25, both=1, backward=1, own=own), 0)
            yield (f"dense backward {length} by {by}", "attention",
                   dict(**shape, full=1, backward=1, own=own), 2.5 * dense)
        yield (f"forward at MSR 0.75 {length}", "attention", dict(**shape, full=0.25, own=1), 0)
    wide = dict(hidden=256, intermediate=512, q_heads=4, kv_heads=2, vocab=1000) if small else dict(
        hidden=4096, intermediate=12288, q_heads=32, kv_heads=8, vocab=151936)
    for length in (256,) if small else (8192, 65536):
        yield (f"step of 4 layers {length}", "step", dict(layers=4, tokens=length, msr=0.7, **wide, times=1),
               0)
    length = 512 if small else 65536
    for kind in ("gathered K,V", "Ulysses"):
        yield (f"shard 7 of 8, {kind} {length}", "shard",
               dict(tokens=length, q_heads=heads, kv_heads=kv, head_dim=dim, ranks=8, rank=7, full=0.25,
                    ulysses=int(kind == "Ulysses"), times=1), 0)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("cases", choices=["products", "attention"])
    parser.add_argument("--bench", required=True)
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--limit", type=float, default=20, help="seconds for an answer")
    parser.add_argument("--seconds", type=float, default=math.inf, help="begin no case after that")
    parser.add_argument("--json")
    a = parser.parse_args()
    ours = Elastron(a.bench, a.device, a.limit)
    results = {"device": ours.device, "full_attention": ours.full_attention, "cases": {}, "failed": {},
               "left_out": []}
    begin = time.monotonic()
    for name, case, settings, operations in {"products": products, "attention": attention}[a.cases](a.small):
        if time.monotonic() - begin > a.seconds:
            results["left_out"].append(name)
        else:
            try:
                # The median of three; the first builds the case.
                rows = sorted((ours.ask(case, **{"times": 5, **settings}) for _ in range(3)),
                              key=lambda r: r["milliseconds"])
                results["cases"][name] = row = rows[1]
                if operations:
                    row["tflops"] = operations / row["milliseconds"] * 1e-9
                ours.ask("drop")
                print(name, json.dumps(row), flush=True)
            except Failed as e:
                results["failed"][name] = str(e)
                print(f"{name}: failed: {e}", flush=True)
        if a.json:
            with open(a.json, "w") as out:
                json.dump(results, out, indent=1)
    ours.end()
    if results["failed"]:
        sys.exit(f"failed: {', '.join(results['failed'])}")


main()
