#!/usr/bin/env python3
"""Fixtures of the Attention Router, from an independent PyTorch implementation.

    python3 tests/oracle/make_router_fixtures.py        (Debian: python3-torch, python3-numpy)

Writes tests/fixtures/router/<case>.safetensors for both kinds of gate: keys of a packed batch with
ragged pooling segments, the MLPs' weights, and what must come out of pooling, logits, noisy gate and
evaluation gate, and every gradient of sum(c * p) by autograd, c being the gradient handed to the
gate. "options" has a task embedding, added in training only, and a learned temperature
exp(log_tau) clamped to [0.3, 1]. The MLPs are torch.nn.Sequential, as the reference code builds them. Values in float64; weights
and keys are float32 values. Uniform numbers: philox.py.
"""
import os

import numpy as np
import torch

from philox import gate_uniform, gumbel
from router_networks import sequential
from safetensors_file import write_safetensors

OUT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "fixtures", "router")
D, HEADS, MULT, BUDGET = 8, 3, 4, 6
LENGTHS = [9, 1, 40, 5, 13]
# Inclusive first and last token of each document's segment; the fourth is empty.
SEGMENTS = [(0, 6), (0, 0), (3, 35), (2, 1), (0, 12)]
KEYS = [11, 12, 500, 70000, 4000000000]
TASKS = [0, 3, 1, 3, 4]
SEED, STEP, LAYER, FIRST_HEAD, TAU = 0x1234567890, 42, 7, 2, 1.25
torch.set_default_dtype(torch.float64)


def noise(classes):
    return torch.tensor([[[gumbel(gate_uniform(SEED, STEP, KEYS[b], LAYER, FIRST_HEAD + h, c))
                           for c in range(classes)] for h in range(HEADS)]
                         for b in range(len(LENGTHS))])


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


def main():
    os.makedirs(OUT, exist_ok=True)
    rng = torch.Generator().manual_seed(6)

    def normal(*shape, std=1.0):
        return (torch.randn(*shape, generator=rng) * std).float()

    keys = normal(sum(LENGTHS), HEADS, D)
    for kind, classes in (("softmax", 2), ("sigmoid", 1), ("options", 2)):
        task = sequential([D, MULT * D, D])                    # indices 0 and 2 are Linear
        router = sequential([D, MULT * D, D, classes])         # indices 0, 2 and 4
        parameters = {}
        for prefix, module in (("task", task), ("router", router)):
            for name, p in module.named_parameters():
                p.data = normal(*p.shape, std=0.4).double()
                parameters[f"{prefix}.{name}"] = p
        if kind == "options":
            parameters["task_embedding.weight"] = normal(5, D).double().requires_grad_()
            parameters["log_tau"] = torch.tensor([-0.4]).float().double().requires_grad_()
        out = {"cu_seqlens": torch.tensor(np.cumsum([0] + LENGTHS)).int(),
               "segments": torch.tensor(SEGMENTS), "sample_keys": torch.tensor(KEYS),
               "tasks": torch.tensor(TASKS).int(),
               "settings": torch.tensor([SEED, STEP, LAYER, FIRST_HEAD, BUDGET, MULT]),
               "tau": torch.tensor([TAU]), "keys": keys, "d_gate": normal(len(LENGTHS), HEADS)}
        out |= {"param." + n: p.detach().float() for n, p in parameters.items()}
        for pooling in ("boundary", "dedup", "mean"):
            k = keys.double().requires_grad_()
            for p in parameters.values():
                p.grad = None
            pooled = pool(k, pooling)
            logits = decisive = router(task(pooled))
            tau = TAU
            if kind == "options":
                embedding = parameters["task_embedding.weight"][torch.tensor(TASKS)]
                logits = router(task(pooled + embedding[:, None, :]))
                tau = parameters["log_tau"].exp().clamp(0.3, 1.0)
            noisy = logits + noise(classes)
            if classes == 2:
                p = torch.softmax(noisy / tau, -1)[..., 1]     # (SA, FA)
                decided = (decisive[..., 1] > decisive[..., 0])
            else:
                p = torch.sigmoid(noisy / tau)[..., 0]
                decided = decisive[..., 0] > 0
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
