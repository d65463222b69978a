#!/usr/bin/env python3
"""Fixtures of attention over the top k blocks (docs/method.md), from an independent PyTorch program.

    /usr/bin/python3 tests/oracle/make_topk_fixtures.py     (Debian: python3-torch)

Means of blocks, scores, a stable sort for the choice; then dense scores per sequence with a boolean
mask per branch, O = z O_retrieval + (1 - z) O_sparse, and PyTorch's autograd for every gradient, z's
included; the choice is made of detached values. Inputs are float32 values; everything is computed and
stored in float64. `gap` is the smallest distance of a score that was chosen from one that was not:
far above the rounding of float32 sums.
"""
import os

import torch

from make_attention_fixtures import visible
from safetensors_file import write_safetensors

OUT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "fixtures", "topk")
torch.set_default_dtype(torch.float64)
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
    generator = torch.Generator().manual_seed(c["seed"])
    tokens, group, gaps = sum(c["lengths"]), c["q_heads"] // c["kv_heads"], []

    def draw(heads):
        return torch.randn(tokens, heads, c["head_dim"], generator=generator, dtype=torch.float32).double()

    q, k, v, d_out = draw(c["q_heads"]), draw(c["kv_heads"]), draw(c["kv_heads"]), draw(c["q_heads"])
    z = (torch.arange(len(c["lengths"]) * c["kv_heads"]) % 2).double().reshape(len(c["lengths"]), -1)
    for x in (q, k, v, z):
        x.requires_grad_(True)

    cu, selected, other, lse = [0], [], [], []
    loss = torch.zeros(())
    for s, length in enumerate(c["lengths"]):
        rows = slice(cu[-1], cu[-1] + length)
        cu.append(cu[-1] + length)
        if length == 0:
            continue
        keys, values = (x[rows].repeat_interleave(group, dim=1) for x in (k, v))
        scores = torch.einsum("ihd,jhd->hij", q[rows], keys) * c["head_dim"] ** -0.5
        causal, streaming = visible(length, *c["streaming"])
        masks = []
        for h in range(c["kv_heads"]):
            heads = q[rows].detach()[:, h * group:(h + 1) * group]
            of_blocks = chosen(heads, k[rows].detach()[:, h], c["blocks"], c["sink"], gaps)
            row = torch.arange(length) // BLOCK
            masks += [causal & of_blocks[row][:, row]] * group
        topk = torch.stack(masks)
        pair = (causal, topk) if c["retrieval"] == "full" else (topk, streaming)
        outputs, sums = [], []
        for mask in pair:
            masked = scores.masked_fill(~mask, float("-inf"))
            outputs.append(torch.einsum("hij,jhd->ihd", torch.softmax(masked, -1), values))
            sums.append(torch.logsumexp(masked, -1).T)
        gate = z[s].repeat_interleave(group)[None, :, None]
        loss = loss + ((gate * outputs[0] + (1 - gate) * outputs[1]) * d_out[rows]).sum()
        full = gate > 0.5
        selected.append(torch.where(full, outputs[0], outputs[1]))
        other.append(torch.where(full, outputs[1], outputs[0]))
        lse.append(torch.where(full[..., 0], sums[0], sums[1]))
    loss.backward()
    print(name, "gap", min(gaps))
    assert min(gaps) > 1e-4

    integers = lambda *x: torch.tensor(x, dtype=torch.int32)
    write_safetensors(os.path.join(OUT, name + ".safetensors"), {
        "shape": integers(c["q_heads"], c["kv_heads"], c["head_dim"]),
        "topk": integers(BLOCK, c["blocks"], c["sink"], int(c["retrieval"] == "topk")),
        "rule": integers(*c["streaming"]),
        "cu_seqlens": integers(*cu),
        "gate": z.detach().int(),
        "q": q, "k": k, "v": v, "d_out": d_out,
        "selected": torch.cat(selected), "other": torch.cat(other), "lse": torch.cat(lse),
        "dq": q.grad, "dk": k.grad, "dv": v.grad, "d_gate": z.grad,
    })


if __name__ == "__main__":
    os.makedirs(OUT, exist_ok=True)
    for case in CASES.items():
        make(*case)
