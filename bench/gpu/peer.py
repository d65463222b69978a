"""What the comparisons with PyTorch share: PyTorch's side, and timing in turns."""
import statistics
import time

import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.attention.flex_attention import create_block_mask, flex_attention

SINK, LOCAL, BLOCK = 128, 2048, 64


class Peer:
    def __init__(self, device):
        self.device = device

    def wait(self):
        if self.device == "cuda":
            torch.cuda.synchronize()

    def time(self, call, times):
        self.wait()
        begin = time.perf_counter()
        for _ in range(times):
            call()
        self.wait()
        return 1e3 * (time.perf_counter() - begin) / times

    def peak(self):
        return torch.cuda.max_memory_allocated() if self.device == "cuda" else 0

    def random(self, *shape, scale=1.0, **more):
        return (torch.randn(*shape, device=self.device) * scale).to(torch.bfloat16).requires_grad_(
            more.get("grad", False))


def dense_backend(device):
    return sdpa_kernel([SDPBackend.CUDNN_ATTENTION] if device == "cuda" else [SDPBackend.MATH])


def block_mask(full, sink, local):
    """mask of (query head, query, key): streaming, or causal for the heads whose `full` is set"""
    def rule(b, h, i, j):
        seen = (j < sink) | (i // BLOCK - j // BLOCK < local // BLOCK)
        return (j <= i) & (seen if full is None else seen | full[h])
    return rule


def flex(length, device, full=None, sink=SINK, local=LOCAL):
    """FlexAttention under block_mask; full: bools, one per query head. The mask is made once."""
    rule = block_mask(full, sink, local)
    if device == "cuda":
        heads = None if full is None else full.numel()
        # Compiled: otherwise the whole mask is one tensor, 34 GB at 32,768 tokens and 32 heads.
        mask = create_block_mask(rule, None, heads, length, length, device=device, _compile=True)
        compiled = torch.compile(flex_attention)
        return lambda q, k, v: compiled(q, k, v, block_mask=mask, enable_gqa=True)
    i = torch.arange(length)  # FlexAttention has no backward pass there
    heads = torch.arange(1 if full is None else full.numel())[:, None, None]
    mask = rule(0, heads, i[:, None], i[None])
    return lambda q, k, v: F.scaled_dot_product_attention(q, k, v, attn_mask=mask, enable_gqa=True)


def in_turns(ours, request, call, peer, times, turns):
    """-> median milliseconds of ours and of the peer's call (None without one), our last answer"""
    mine, theirs = [], []
    if call:
        call()
    for _ in range(turns):
        answer = ours.ask(request[0], **request[1])
        mine.append(answer.pop("milliseconds"))
        if call:
            theirs.append(peer.time(call, times))
    ours.ask("drop")
    return statistics.median(mine), statistics.median(theirs) if call else None, answer
