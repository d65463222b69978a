#!/usr/bin/env python3
"""Fixtures of routed attention, from an independent PyTorch implementation.

    /usr/bin/python3 tests/oracle/make_attention_fixtures.py     (Debian: python3-torch)

Dense scores per sequence, a boolean mask per branch, O = z O_full + (1 - z) O_sparse with z a real
number that happens to be 0 or 1, and PyTorch's autograd for every gradient, z's included. Inputs
are float32 values; everything is computed and stored in float64.
"""
import os

import torch

from safetensors_file import write_safetensors

OUT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "fixtures", "attention")
torch.set_default_dtype(torch.float64)
CASES = {
    # Blocks smaller than any tile, empty and one-token sequences, three query heads per kv head.
    "small_blocks": dict(seed=1, q_heads=6, kv_heads=2, head_dim=8, lengths=[1, 0, 7, 40, 19],
                         padding=4, block=4, sink=1, local=2),
    # Several tiles per row, tiles partly visible, a head_dim that fills no register.
    "long_row": dict(seed=2, q_heads=2, kv_heads=2, head_dim=10, lengths=[200], padding=0,
                     block=24, sink=1, local=3),
}


def visible(length, block, sink, local):
    i = torch.arange(length)[:, None]
    j = torch.arange(length)[None, :]
    causal = j <= i
    window = torch.div(i, block, rounding_mode="floor") - torch.div(j, block, rounding_mode="floor")
    return causal, causal & ((torch.div(j, block, rounding_mode="floor") < sink) | (window < local))


def make(name, c):
    generator = torch.Generator().manual_seed(c["seed"])
    tokens = sum(c["lengths"]) + c["padding"]
    group = c["q_heads"] // c["kv_heads"]

    def draw(heads):
        return torch.randn(tokens, heads, c["head_dim"], generator=generator,
                           dtype=torch.float32).double()

    q, k, v = draw(c["q_heads"]), draw(c["kv_heads"]), draw(c["kv_heads"])
    d_out = draw(c["q_heads"])
    z = (torch.arange(len(c["lengths"]) * c["kv_heads"]) % 2).double()
    z = z.reshape(len(c["lengths"]), c["kv_heads"])
    for x in (q, k, v, z):
        x.requires_grad_(True)

    cu, selected, other, lse = [0], [], [], []
    loss = torch.zeros(())
    for s, length in enumerate(c["lengths"]):
        rows = slice(cu[-1], cu[-1] + length)
        cu.append(cu[-1] + length)
        keys = k[rows].repeat_interleave(group, dim=1)
        values = v[rows].repeat_interleave(group, dim=1)
        scores = torch.einsum("ihd,jhd->hij", q[rows], keys) * c["head_dim"] ** -0.5
        outputs, sums = [], []
        for mask in visible(length, c["block"], c["sink"], c["local"]):
            masked = scores.masked_fill(~mask, float("-inf"))
            outputs.append(torch.einsum("hij,jhd->ihd", torch.softmax(masked, -1), values))
            sums.append(torch.logsumexp(masked, -1).T if length else masked.sum(-1).T)
        gate = z[s].repeat_interleave(group)[None, :, None]
        loss = loss + ((gate * outputs[0] + (1 - gate) * outputs[1]) * d_out[rows]).sum()
        full = gate > 0.5
        selected.append(torch.where(full, outputs[0], outputs[1]))
        other.append(torch.where(full, outputs[1], outputs[0]))
        lse.append(torch.where(full[..., 0], sums[0], sums[1]))
    loss.backward()

    pad = torch.zeros(c["padding"], c["q_heads"], c["head_dim"])
    integers = lambda *x: torch.tensor(x, dtype=torch.int32)
    write_safetensors(os.path.join(OUT, name + ".safetensors"), {
        "shape": integers(c["q_heads"], c["kv_heads"], c["head_dim"], c["padding"]),
        "rule": integers(c["block"], c["sink"], c["local"]),
        "cu_seqlens": integers(*cu),
        "gate": z.detach().int(),
        "q": q, "k": k, "v": v, "d_out": d_out,
        "selected": torch.cat(selected + [pad]), "other": torch.cat(other + [pad]),
        "lse": torch.cat(lse + [pad[..., 0]]),
        "dq": q.grad, "dk": k.grad, "dv": v.grad, "d_gate": z.grad,
    })


if __name__ == "__main__":
    os.makedirs(OUT, exist_ok=True)
    for case in CASES.items():
        make(*case)
