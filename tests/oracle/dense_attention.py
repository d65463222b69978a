"""Routed attention as PyTorch has it: the one dense oracle of the attention fixtures.

Dense scores per sequence, a boolean mask per branch, O = z O_retrieval + (1 - z) O_sparse with z a real
number that happens to be 0 or 1, and PyTorch's autograd for every gradient, z's included. Inputs are
float32 values; everything is computed and stored in float64.
"""
import torch

from safetensors_file import write_safetensors

torch.set_default_dtype(torch.float64)


def integers(*numbers):
    return torch.tensor(numbers, dtype=torch.int32)


def visible(length, block, sink, local):
    """The causal and the streaming mask, [length, length]."""
    i = torch.arange(length)[:, None]
    j = torch.arange(length)[None, :]
    causal = j <= i
    window = torch.div(i, block, rounding_mode="floor") - torch.div(j, block, rounding_mode="floor")
    return causal, causal & ((torch.div(j, block, rounding_mode="floor") < sink) | (window < local))


def write_fixture(path, c, masks_of, settings):
    """A problem of the case c and its answers. masks_of(length, q, k) gives the retrieval and the sparse
    branch's mask of a sequence, [length, length] or [q_heads, length, length]; `settings` are tensors that
    stand beside them."""
    generator = torch.Generator().manual_seed(c["seed"])
    padding = c.get("padding", 0)
    tokens = sum(c["lengths"]) + padding
    group = c["q_heads"] // c["kv_heads"]

    def draw(heads):
        return torch.randn(tokens, heads, c["head_dim"], generator=generator,
                           dtype=torch.float32).double()

    q, k, v, d_out = draw(c["q_heads"]), draw(c["kv_heads"]), draw(c["kv_heads"]), draw(c["q_heads"])
    z = (torch.arange(len(c["lengths"]) * c["kv_heads"]) % 2).double()
    z = z.reshape(len(c["lengths"]), c["kv_heads"])
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
        outputs, sums = [], []
        for mask in masks_of(length, q[rows].detach(), k[rows].detach()):
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

    pad = torch.zeros(padding, c["q_heads"], c["head_dim"])
    write_safetensors(path, settings | {
        "cu_seqlens": integers(*cu),
        "gate": z.detach().int(),
        "q": q, "k": k, "v": v, "d_out": d_out,
        "selected": torch.cat(selected + [pad]), "other": torch.cat(other + [pad]),
        "lse": torch.cat(lse + [pad[..., 0]]),
        "dq": q.grad, "dk": k.grad, "dv": v.grad, "d_gate": z.grad,
    })
