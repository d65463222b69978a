#!/usr/bin/env python3
"""Fixtures of the Attention Router, from an independent PyTorch implementation.

    python3 tests/oracle/make_router_fixtures.py        (Debian: python3-torch, python3-numpy)

Writes tests/fixtures/router/<case>.safetensors for both kinds of gate: keys of a packed batch with
ragged pooling segments, the MLPs' weights, and what must come out of pooling, logits, noisy gate and
evaluation gate, and every gradient of sum(c * p) by autograd, c being the gradient handed to the
gate. The MLPs are torch.nn.Sequential, as the reference code builds them. Values in float64; weights
and keys are float32 values. Uniform numbers come from core/philox.h's generator, written a second
time here.
"""
import json
import os
import struct

import numpy as np
import torch

OUT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "fixtures", "router")
D, HEADS, MULT, BUDGET = 8, 3, 4, 6
LENGTHS = [9, 1, 40, 5, 13]
# Inclusive first and last token of each document's segment; the fourth is empty.
SEGMENTS = [(0, 6), (0, 0), (3, 35), (2, 1), (0, 12)]
KEYS = [11, 12, 500, 70000, 4000000000]
SEED, STEP, LAYER, FIRST_HEAD, TAU = 0x1234567890, 42, 7, 2, 1.25
GATE_NOISE = 1
torch.set_default_dtype(torch.float64)


def write_safetensors(path, tensors):
    names = {torch.float64: "F64", torch.float32: "F32", torch.int64: "I64", torch.int32: "I32",
             torch.uint8: "U8"}
    header, blobs, offset = {}, [], 0
    for name in sorted(tensors, key=lambda n: -tensors[n].element_size()):
        t = tensors[name].detach().contiguous()
        blob = t.numpy().tobytes()
        header[name] = dict(dtype=names[t.dtype], shape=list(t.shape),
                            data_offsets=[offset, offset + len(blob)])
        blobs.append(blob)
        offset += len(blob)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text + b"".join(blobs))


def philox(counter, key):
    counter, key = [int(c) for c in counter], [int(k) for k in key]
    for _ in range(10):
        a, b = 0xD2511F53 * counter[0], 0xCD9E8D57 * counter[2]
        counter = [(b >> 32) ^ counter[1] ^ key[0], b & 0xFFFFFFFF,
                   (a >> 32) ^ counter[3] ^ key[1], a & 0xFFFFFFFF]
        key = [(key[0] + 0x9E3779B9) & 0xFFFFFFFF, (key[1] + 0xBB67AE85) & 0xFFFFFFFF]
    return counter


def uniform(document, head, cls):
    key = [(SEED & 0xFFFFFFFF) ^ (GATE_NOISE * 0x9E3779B9 & 0xFFFFFFFF), SEED >> 32]
    block = philox([0, STEP, KEYS[document], LAYER << 16 | (FIRST_HEAD + head)], key)
    return np.float32((block[cls] >> 8) * 2.0 ** -24)


def noise(classes):
    u = np.array([[[uniform(b, h, c) for c in range(classes)] for h in range(HEADS)]
                  for b in range(len(LENGTHS))], np.float32)
    eps = np.float32(1e-8)
    return torch.from_numpy(-np.log(-np.log(u + eps) + eps)).double()


def pool(k, pooling):
    """k [tokens, heads, d] -> [documents, heads, d]"""
    starts = np.cumsum([0] + LENGTHS)
    rows = []
    for b, (first, last) in enumerate(SEGMENTS):
        part = k[starts[b] + first: starts[b] + last + 1] if last >= first else k[:0]
        if len(part) == 0:
            rows.append(torch.zeros(HEADS, D))
        elif pooling == "mean":
            rows.append(part.mean(0))
        elif pooling == "dedup":
            keep = [i for i in range(len(part)) if i < BUDGET or i >= len(part) - BUDGET]
            rows.append(part[keep].mean(0))
        else:
            rows.append(torch.cat([part[:BUDGET], part[-BUDGET:]]).mean(0))
    return torch.stack(rows)


def sequential(widths):
    layers = []
    for i in range(len(widths) - 1):
        layers.append(torch.nn.Linear(widths[i], widths[i + 1]))
        if i + 2 < len(widths):
            layers.append(torch.nn.SiLU())
    return torch.nn.Sequential(*layers)


def main():
    os.makedirs(OUT, exist_ok=True)
    rng = torch.Generator().manual_seed(6)

    def normal(*shape, std=1.0):
        return (torch.randn(*shape, generator=rng) * std).float()

    keys = normal(sum(LENGTHS), HEADS, D)
    for kind, classes in (("softmax", 2), ("sigmoid", 1)):
        task = sequential([D, MULT * D, D])                    # indices 0 and 2 are Linear
        router = sequential([D, MULT * D, D, classes])         # indices 0, 2 and 4
        parameters = {}
        for prefix, module in (("task", task), ("router", router)):
            for name, p in module.named_parameters():
                p.data = normal(*p.shape, std=0.4).double()
                parameters[f"{prefix}.{name}"] = p
        out = {"cu_seqlens": torch.tensor(np.cumsum([0] + LENGTHS)).int(),
               "segments": torch.tensor(SEGMENTS), "sample_keys": torch.tensor(KEYS),
               "settings": torch.tensor([SEED, STEP, LAYER, FIRST_HEAD, BUDGET, MULT]),
               "tau": torch.tensor([TAU]), "keys": keys, "d_gate": normal(len(LENGTHS), HEADS)}
        out |= {"param." + n: p.detach().float() for n, p in parameters.items()}
        for pooling in ("boundary", "dedup", "mean"):
            k = keys.double().requires_grad_()
            for p in parameters.values():
                p.grad = None
            pooled = pool(k, pooling)
            logits = router(task(pooled))
            noisy = logits + noise(classes)
            if classes == 2:
                p = torch.softmax(noisy / TAU, -1)[..., 1]     # (SA, FA)
                decided = (logits[..., 1] > logits[..., 0])
            else:
                p = torch.sigmoid(noisy / TAU)[..., 0]
                decided = logits[..., 0] > 0
            (p * out["d_gate"].double()).sum().backward()
            c = pooling + "."
            out |= {c + "pooled": pooled, c + "logits": logits, c + "p": p,
                    c + "z": (p > 0.5).to(torch.uint8), c + "z_eval": decided.to(torch.uint8),
                    c + "dk": k.grad}
            out |= {c + "grad." + n: q.grad for n, q in parameters.items()}
        write_safetensors(os.path.join(OUT, kind + ".safetensors"), out)
        print(kind, "z", out["boundary.z"].tolist(), "eval", out["boundary.z_eval"].tolist(),
              "p", [round(x, 3) for x in out["boundary.p"].flatten().tolist()])


main()
