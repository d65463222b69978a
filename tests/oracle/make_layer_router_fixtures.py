#!/usr/bin/env python3
"""Fixtures of routers by layer and of routers that read queries, from an independent PyTorch
implementation.

    venv/bin/python tests/oracle/make_layer_router_fixtures.py        (torch, numpy)

Writes tests/fixtures/layer_router/<case>.safetensors: states of a packed batch with ragged pooling
segments, the MLPs' weights, and what must come out of pooling, logits, noisy gate and evaluation gate,
and every gradient of sum(c * p) by autograd, p being the probability of each kv head and c the
gradient handed to its gate. Values in float64; weights and states are float32 values.

flux: the network of Flux Attention, from queries, a decision per layer (bias 4.5 aside).
layer_key: a decision per layer from keys, by the network of Elastic Attention, sigmoid.
head_query: a decision per kv head, from the mean of the queries that share it.
"""
import os

import numpy as np
import torch

from philox import gate_uniform, gumbel
from router_networks import sequential
from safetensors_file import write_safetensors

OUT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "fixtures", "layer_router")
D, KV_HEADS, GROUP, BUDGET = 8, 2, 3, 5
LENGTHS = [9, 1, 18, 5, 7]
# Inclusive first and last token of each document's segment; the fourth is empty.
SEGMENTS = [(0, 6), (0, 0), (2, 15), (2, 1), (0, 6)]
KEYS = [11, 12, 500, 70000, 4000000000]
SEED, STEP, LAYER, FIRST_HEAD, TAU = 0x1234567890, 42, 7, 4, 1.25
# states, decision, widths of the task MLP and of the router MLP, outputs
CASES = {
    "flux": ("query", "layer", [8, 2], [4, 1], 2),
    "layer_key": ("key", "layer", [4, 1], [4, 1], 1),
    "head_query": ("query", "head", [2, 1], [3, 2], 2),
}
torch.set_default_dtype(torch.float64)


def noise(decisions, classes):
    """A layer's noise is that of no head: its place is taken by 0."""
    first = FIRST_HEAD if decisions == KV_HEADS else 0
    return torch.tensor([[[gumbel(gate_uniform(SEED, STEP, key, LAYER, first + h, c))
                           for c in range(classes)] for h in range(decisions)] for key in KEYS])


def pool(states):
    starts = np.cumsum([0] + LENGTHS)
    rows = []
    for b, (first, last) in enumerate(SEGMENTS):
        part = states[starts[b] + first: starts[b] + last + 1] if last >= first else states[:0]
        rows.append(torch.cat([part[:BUDGET], part[-BUDGET:]]).mean(0) if len(part) else
                    torch.zeros(states.shape[1:]))
    return torch.stack(rows)


def main():
    os.makedirs(OUT, exist_ok=True)
    rng = torch.Generator().manual_seed(8)

    def normal(*shape, std=1.0):
        return (torch.randn(*shape, generator=rng) * std).float()

    for case, (read, decides, task_widths, widths, classes) in CASES.items():
        heads = KV_HEADS * GROUP if read == "query" else KV_HEADS
        decisions = 1 if decides == "layer" else KV_HEADS
        task = sequential([D, task_widths[0] * D, task_widths[1] * D])
        router = sequential([task_widths[1] * D, widths[0] * D, widths[1] * D, classes])
        parameters = {}
        for prefix, module in (("task", task), ("router", router)):
            for name, p in module.named_parameters():
                p.data = normal(*p.shape, std=0.4).double()
                parameters[f"{prefix}.{name}"] = p
        x = normal(sum(LENGTHS), heads, D).double().requires_grad_()
        d_gate = normal(len(LENGTHS), KV_HEADS)
        pooled = pool(x).view(len(LENGTHS), decisions, -1, D).mean(2)
        logits = router(task(pooled))
        noisy = (logits + noise(decisions, classes)) / TAU
        p = torch.softmax(noisy, -1)[..., 1] if classes == 2 else torch.sigmoid(noisy)[..., 0]
        decided = logits[..., 1] > logits[..., 0] if classes == 2 else logits[..., 0] > 0
        (p.expand(-1, KV_HEADS) * d_gate.double()).sum().backward()

        def of_heads(gate):
            return gate.to(torch.uint8).expand(-1, KV_HEADS).contiguous()

        out = {"cu_seqlens": torch.tensor(np.cumsum([0] + LENGTHS)).int(),
               "segments": torch.tensor(SEGMENTS), "sample_keys": torch.tensor(KEYS),
               "settings": torch.tensor([SEED, STEP, LAYER, FIRST_HEAD, BUDGET, KV_HEADS]),
               "widths": torch.tensor(task_widths + widths), "tau": torch.tensor([TAU]),
               "states": x.detach().float(), "d_gate": d_gate, "pooled": pooled, "logits": logits,
               "p": p, "z": of_heads(p > 0.5), "z_eval": of_heads(decided), "dx": x.grad}
        out |= {"param." + n: q.detach().float() for n, q in parameters.items()}
        out |= {"grad." + n: q.grad for n, q in parameters.items()}
        write_safetensors(os.path.join(OUT, case + ".safetensors"), out)
        print(case, "z", out["z"].tolist(), "eval", out["z_eval"].tolist(), "p",
              [round(v, 3) for v in p.flatten().tolist()])


main()
