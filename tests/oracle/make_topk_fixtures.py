#!/usr/bin/env python3
"""Fixtures of attention over the top k blocks (docs/method.md), from an independent PyTorch program.

    /usr/bin/python3 tests/oracle/make_topk_fixtures.py     (Debian: python3-torch)

Means of blocks, scores, a stable sort for the choice, made of detached values; then dense attention
(dense_attention.py). `gap` is the smallest distance of a score that was chosen from one that was not: far
above the rounding of float32 sums.
"""
import os

import torch

from dense_attention import integers, visible, write_fixture

OUT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "fixtures", "topk")
BLOCK = 64
CASES = {
    # Sparse branch: three query heads to a kv head, one-token and empty sequences.
    "fa_topk": dict(seed=5, q_heads=3, kv_heads=1, head_dim=4, lengths=[1, 0, 70, 300], blocks=3, sink=1,
                    retrieval="full", streaming=(16, 1, 2)),
    # Retrieval branch beside streaming attention, no sink, two kv heads.
    "topk_ssa": dict(seed=6, q_heads=4, kv_heads=2, head_dim=4, lengths=[260, 70], blocks=2, sink=0,
                     retrieval="topk", streaming=(16, 1, 2)),
}


def blocks_of(x):
    """Means over blocks of rows: x [tokens, ...] -> [blocks, head_dim]."""
    return torch.stack([part.reshape(-1, x.shape[-1]).mean(0) for part in x.split(BLOCK)])


def chosen(q, k, blocks, sink, gaps):
    """[query block, key block] of one sequence and kv head: q [tokens, group, dim], k [tokens, dim]."""
    scores = blocks_of(q) @ blocks_of(k).T
    mask = torch.zeros(scores.shape, dtype=torch.bool)
    for i in range(len(scores)):
        always = {j for j in range(min(sink, i))} | {i}
        rest = [j for j in range(i) if j not in always]
        order = sorted(rest, key=lambda j: (-scores[i, j].item(), j))
        taken = order[:blocks - len(always)]
        if len(taken) < len(order) and taken:
            gaps.append((scores[i, taken[-1]] - scores[i, order[len(taken)]]).item())
        mask[i, list(always) + taken] = True
    return mask


def make(name, c):
    group, gaps = c["q_heads"] // c["kv_heads"], []

    def masks_of(length, q, k):
        causal, streaming = visible(length, *c["streaming"])
        row = torch.arange(length) // BLOCK
        masks = []
        for h in range(c["kv_heads"]):
            of_blocks = chosen(q[:, h * group:(h + 1) * group], k[:, h], c["blocks"], c["sink"], gaps)
            masks += [causal & of_blocks[row][:, row]] * group
        topk = torch.stack(masks)
        return (causal, topk) if c["retrieval"] == "full" else (topk, streaming)

    write_fixture(os.path.join(OUT, name + ".safetensors"), c, masks_of, {
        "shape": integers(c["q_heads"], c["kv_heads"], c["head_dim"]),
        "topk": integers(BLOCK, c["blocks"], c["sink"], int(c["retrieval"] == "topk")),
        "rule": integers(*c["streaming"])})
    print(name, "gap", min(gaps))
    assert min(gaps) > 1e-4


if __name__ == "__main__":
    os.makedirs(OUT, exist_ok=True)
    for case in CASES.items():
        make(*case)
