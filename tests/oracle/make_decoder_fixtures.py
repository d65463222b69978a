#!/usr/bin/env python3
"""Fixtures of the whole decoder, from an independent PyTorch implementation.

    python3 tests/oracle/make_decoder_fixtures.py [NAME ...]     (Debian: python3-torch, python3-numpy)

Writes tests/fixtures/<name>/: `decoder`, a Hugging Face folder with a random Qwen3 model, and
`decoder_experts`, one with a mixture of experts in its first layer; and in each expected.safetensors
with what a forward and backward pass must give: logits under several gates, the training loss with
its router, and gradients by PyTorch's autograd through dense S x S scores (of weights where these may
train, which experts do not). With names, only those.
Everything is computed in float64; weights are float32 values. The gate noise comes from a
second implementation of the counter-based random numbers (philox.py). layer_router.safetensors has
the same of routers that decide for a layer, from its queries, with the backbone training too.
"""
import json
import math
import os
import sys

import numpy as np
import torch

from philox import gate_uniform, gumbel
from safetensors_file import write_safetensors

OUT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "fixtures")
DENSE = dict(
    architectures=["Qwen3ForCausalLM"], model_type="qwen3", hidden_size=32, intermediate_size=48,
    num_hidden_layers=2, num_attention_heads=8, num_key_value_heads=4, head_dim=16, vocab_size=61,
    rms_norm_eps=1e-6, rope_theta=10000.0, tie_word_embeddings=False, max_position_embeddings=128,
    attention_bias=False, hidden_act="silu", torch_dtype="float32", bos_token_id=0, eos_token_id=1,
    initializer_range=0.02, rope_scaling=None, use_sliding_window=False)
EXPERTS = dict(
    DENSE, architectures=["Qwen3MoeForCausalLM"], model_type="qwen3_moe", num_experts=6,
    num_experts_per_tok=2, moe_intermediate_size=12, norm_topk_prob=True, mlp_only_layers=[1],
    decoder_sparse_step=1)
CONFIGS = {"decoder": DENSE, "decoder_experts": EXPERTS}
CONFIG = DENSE
LENGTHS = [29, 7, 44]
TASKS = [0, 0, 3]
USER_LENGTHS = [21, 3, 40]
BLOCK, SINK_BLOCKS, LOCAL_BLOCKS = 4, 1, 2
POOL_BUDGET = 8
SEED, STEP, TAU = 1234, 5, 1.3
HIDDEN_MULT = 4
TARGETS = {0: 0.7, 3: 1.0}
torch.set_default_dtype(torch.float64)


# --- the model ------------------------------------------------------------------------------------
def rms(x, w):
    return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + CONFIG["rms_norm_eps"]) * w


def rope(x, positions):
    d = x.shape[-1]
    freq = CONFIG["rope_theta"] ** (-torch.arange(0, d, 2).double() / d)
    angle = positions[:, None].double() * freq[None]
    cos, sin = angle.cos()[:, None], angle.sin()[:, None]
    a, b = x[..., : d // 2], x[..., d // 2:]
    return torch.cat([a * cos - b * sin, b * cos + a * sin], -1)


def masks(n):
    i, j = torch.arange(n)[:, None], torch.arange(n)[None]
    full = j <= i
    sparse = full & ((j // BLOCK < SINK_BLOCKS) | (i // BLOCK - j // BLOCK < LOCAL_BLOCKS))
    return full, sparse


def attend(q, k, v, mask):
    s = torch.einsum("ihd,jhd->hij", q, k) / math.sqrt(q.shape[-1])
    p = torch.softmax(s.masked_fill(~mask, -math.inf), -1)
    return torch.einsum("hij,jhd->ihd", p, v)


def boundary_pool(k, start, end):
    """k [n, heads, d]; first and last POOL_BUDGET tokens of start..end, overlaps counted twice."""
    pre = k[start: min(start + POOL_BUDGET, end + 1)]
    suf = k[max(start, end - POOL_BUDGET + 1): end + 1]
    return (pre.sum(0) + suf.sum(0)) / (len(pre) + len(suf))


def router_logits(x, r, i):
    g = lambda n: r[f"router.layers.{i}.{n}"]
    lin = lambda x, n: x @ g(n + ".weight").T + g(n + ".bias")
    silu = torch.nn.functional.silu
    t = lin(silu(lin(x, "task.0")), "task.2")
    return lin(silu(lin(silu(lin(t, "router.0")), "router.2")), "router.4")


def has_experts(i):
    return "num_experts" in CONFIG and i not in CONFIG["mlp_only_layers"]


def swiglu(x, g, path):
    h = torch.nn.functional.silu(x @ g(path + ".gate_proj").T) * (x @ g(path + ".up_proj").T)
    return h @ g(path + ".down_proj").T


def mixture(x, g):
    """All experts of all tokens, of which the chosen ones count."""
    c = CONFIG
    p = torch.softmax(x @ g("mlp.gate").T, -1)
    most, chosen = p.topk(c["num_experts_per_tok"])
    if c["norm_topk_prob"]:
        most = most / most.sum(-1, keepdim=True)
    weights = torch.zeros_like(p).scatter(-1, chosen, most)
    return sum(weights[:, e, None] * swiglu(x, g, f"mlp.experts.{e}") for e in range(c["num_experts"]))


def forward(w, ids, gates=None, router=None, by_layer=False):
    """Logits of the packed batch. gates[l][b] [kv_heads] fixed, or a router with sampled gates, of
    each head from its keys, or of the layer from the mean of its queries.
    -> logits, z (straight-through, [L][B] tensors), p"""
    c = CONFIG
    hq, hk, d = c["num_attention_heads"], c["num_key_value_heads"], c["head_dim"]
    x = w["model.embed_tokens.weight"][ids]
    starts = np.cumsum([0] + LENGTHS)
    positions = torch.cat([torch.arange(n) for n in LENGTHS])
    all_z, all_p = [], []
    for i in range(c["num_hidden_layers"]):
        g = lambda n: w[f"model.layers.{i}.{n}.weight"]
        n1 = rms(x, g("input_layernorm"))
        q = rms((n1 @ g("self_attn.q_proj").T).view(-1, hq, d), g("self_attn.q_norm"))
        k = rms((n1 @ g("self_attn.k_proj").T).view(-1, hk, d), g("self_attn.k_norm"))
        v = (n1 @ g("self_attn.v_proj").T).view(-1, hk, d)
        q_pre, k_pre = q, k
        q, k = rope(q, positions), rope(k, positions)
        outs, zs, ps = [], [], []
        for b, n in enumerate(LENGTHS):
            s = slice(starts[b], starts[b] + n)
            rep = lambda t: t[s].repeat_interleave(hq // hk, 1)
            full, sparse = masks(n)
            if router is not None:
                states = q_pre if by_layer else k_pre
                pooled = boundary_pool(states[s], 0, USER_LENGTHS[b] - 1)
                if by_layer:
                    pooled = pooled.mean(0, keepdim=True)
                logits = router_logits(pooled, router, i)
                noise = torch.tensor([[gumbel(gate_uniform(SEED, STEP, b, i, h, cl))
                                       for cl in range(2)] for h in range(len(pooled))])
                p = torch.sigmoid((logits[:, 1] + noise[:, 1] - logits[:, 0] - noise[:, 0]) / TAU)
                z = (p > 0.5).double() + p - p.detach()
                ps.append(p)
                z = z.expand(hk)
            else:
                z = gates[i][b].double()
            zs.append(z)
            zq = z.repeat_interleave(hq // hk)[None, :, None]
            outs.append(zq * attend(q[s], rep(k), rep(v), full)
                        + (1 - zq) * attend(q[s], rep(k), rep(v), sparse))
        x = x + torch.cat(outs).reshape(len(ids), hq * d) @ g("self_attn.o_proj").T
        n2 = rms(x, g("post_attention_layernorm"))
        x = x + (mixture(n2, g) if has_experts(i) else swiglu(n2, g, "mlp"))
        all_z.append(zs)
        all_p.append(ps)
    return rms(x, w["model.norm.weight"]) @ w["lm_head.weight"].T, all_z, all_p


def lm_loss(logits, ids):
    """Mean over labels: every token but the first of its document is predicted."""
    starts = np.cumsum([0] + LENGTHS)
    rows = [j for b in range(len(LENGTHS)) for j in range(starts[b], starts[b + 1] - 1)]
    rows = torch.tensor(rows)
    return torch.nn.functional.cross_entropy(logits[rows], ids[rows + 1])


def objective(zs, lambda1, lambda2):
    c = CONFIG
    total = 0.0
    tasks = sorted(set(TASKS))
    for t in tasks:
        docs = [b for b in range(len(TASKS)) if TASKS[b] == t]
        part = 0.0
        for b in docs:
            msr = 1 - sum(zs[i][b].sum() for i in range(c["num_hidden_layers"])) / (
                c["num_hidden_layers"] * c["num_key_value_heads"])
            gap = msr - TARGETS[t]
            part = part + lambda1[t] * gap.abs() + lambda2[t] * gap ** 2
        total = total + part / len(docs)
    return total / len(tasks)


def layer_router(w, ids, normal):
    """Backbone and routers train. Gradients of the routers, and of what only the queries' way back
    reaches: the norm and the projection of layer 0's queries."""
    c, d, r = CONFIG, CONFIG["head_dim"], {}
    for i in range(c["num_hidden_layers"]):
        inputs = d
        for name, out in (("task.0", d), ("task.2", 2 * d), ("router.0", 2 * d), ("router.2", d),
                          ("router.4", 2)):
            r[f"router.layers.{i}.{name}.weight"] = normal(out, inputs, std=0.3)
            r[f"router.layers.{i}.{name}.bias"] = normal(out, std=0.3)
            inputs = out
    w64 = {n: t.double().requires_grad_() for n, t in w.items()}
    r64 = {n: t.double().requires_grad_() for n, t in r.items()}
    logits, zs, ps = forward(w64, ids, router=r64, by_layer=True)
    lm = lm_loss(logits, ids)
    lm.backward()
    z = torch.stack([torch.stack(z) for z in zs]).detach().round().to(torch.uint8)
    out = {"lm_loss": lm.reshape(1), "z": z, "p": torch.stack([torch.stack(p) for p in ps])}
    for n, t in r.items():
        out |= {"param." + n: t, "grad." + n: r64[n].grad}
    for n in ("self_attn.q_norm", "self_attn.q_proj", "self_attn.k_norm"):
        out["grad." + n] = w64[f"model.layers.0.{n}.weight"].grad
    write_safetensors(os.path.join(OUT, "decoder", "layer_router.safetensors"), out)
    print("by layer: loss", lm.item(), "z", z[..., 0].tolist())


def write(name):
    global CONFIG
    CONFIG = CONFIGS[name]
    out_folder = os.path.join(OUT, name)
    os.makedirs(out_folder, exist_ok=True)
    rng = torch.Generator().manual_seed(7)
    c = CONFIG
    h, f, d = c["hidden_size"], c["intermediate_size"], c["head_dim"]
    qd, kd = c["num_attention_heads"] * d, c["num_key_value_heads"] * d

    def normal(*shape, std=0.25):
        return (torch.randn(*shape, generator=rng) * std).float()

    w = {"model.embed_tokens.weight": normal(c["vocab_size"], h, std=1.0),
         "lm_head.weight": normal(c["vocab_size"], h),
         "model.norm.weight": 1 + normal(h)}
    for i in range(c["num_hidden_layers"]):
        p = f"model.layers.{i}."
        w |= {p + "input_layernorm.weight": 1 + normal(h),
              p + "post_attention_layernorm.weight": 1 + normal(h),
              p + "self_attn.q_proj.weight": normal(qd, h),
              p + "self_attn.k_proj.weight": normal(kd, h),
              p + "self_attn.v_proj.weight": normal(kd, h),
              p + "self_attn.o_proj.weight": normal(h, qd),
              p + "self_attn.q_norm.weight": 1 + normal(d),
              p + "self_attn.k_norm.weight": 1 + normal(d)}
        blocks = {"mlp": f}
        if has_experts(i):
            w[p + "mlp.gate.weight"] = normal(c["num_experts"], h)
            blocks = {f"mlp.experts.{e}": c["moe_intermediate_size"] for e in range(c["num_experts"])}
        for block, width in blocks.items():
            w |= {p + block + ".gate_proj.weight": normal(width, h),
                  p + block + ".up_proj.weight": normal(width, h),
                  p + block + ".down_proj.weight": normal(h, width)}
    r = {}
    m = HIDDEN_MULT * d
    for i in range(c["num_hidden_layers"]):
        p = f"router.layers.{i}."
        for name, (o, n) in {"task.0": (m, d), "task.2": (d, m), "router.0": (m, d),
                             "router.2": (d, m), "router.4": (2, d)}.items():
            r[p + name + ".weight"] = normal(o, n, std=0.2)
            r[p + name + ".bias"] = normal(o, std=0.05)
    lambda1 = torch.tensor([0.2, 0.3, 0.1, 0.4, 0.25]).float()
    lambda2 = torch.tensor([0.1, 0.2, 0.3, 0.35, 0.15]).float()

    with open(os.path.join(out_folder, "config.json"), "w") as out:
        json.dump(CONFIG, out, indent=2)
    write_safetensors(os.path.join(out_folder, "model.safetensors"), w)

    ids = torch.randint(0, c["vocab_size"], (sum(LENGTHS),), generator=rng)
    expected = {
        "token_ids": ids.int(), "lengths": torch.tensor(LENGTHS).int(),
        "tasks": torch.tensor(TASKS).int(), "user_lengths": torch.tensor(USER_LENGTHS).int(),
        "rule": torch.tensor([BLOCK, SINK_BLOCKS, LOCAL_BLOCKS]).int(),
        "settings": torch.tensor([SEED, STEP, TAU, POOL_BUDGET, HIDDEN_MULT, TARGETS[0], TARGETS[3]])}

    w64 = {n: t.double().requires_grad_() for n, t in w.items()}
    layers, batch, hk = c["num_hidden_layers"], len(LENGTHS), c["num_key_value_heads"]
    ones = [[torch.ones(hk)] * batch] * layers
    zeros = [[torch.zeros(hk)] * batch] * layers
    mixed = (torch.rand(layers, batch, hk, generator=rng) < 0.5)

    # Pretraining: full attention, all weights have gradients.
    logits, _, _ = forward(w64, ids, ones)
    loss = lm_loss(logits, ids)
    loss.backward()
    expected["full.logits"], expected["full.loss"] = logits, loss.reshape(1)
    if "num_experts" not in c:
        for n, t in w64.items():
            expected["full.grad." + n] = t.grad
    expected["sparse.logits"] = forward(w64, ids, zeros)[0]
    expected["mixed.gates"] = mixed.to(torch.uint8)
    expected["mixed.logits"] = forward(w64, ids, mixed)[0]

    # Router training: frozen backbone, sampled gates, straight-through gradient.
    frozen = {n: t.double() for n, t in w.items()}
    r64 = {n: t.double().requires_grad_() for n, t in r.items()}
    l1, l2 = lambda1.double().requires_grad_(), lambda2.double().requires_grad_()
    logits, zs, ps = forward(frozen, ids, router=r64)
    lm, reg = lm_loss(logits, ids), objective(zs, l1, l2)
    (lm + reg).backward()
    expected["router.logits"] = logits
    expected["router.lm_loss"], expected["router.reg"] = lm.reshape(1), reg.reshape(1)
    expected["router.z"] = torch.stack([torch.stack(z) for z in zs]).detach().round().to(torch.uint8)
    expected["router.p"] = torch.stack([torch.stack(p) for p in ps])
    for n, t in r.items():
        expected["router.param." + n] = t
        expected["router.grad." + n] = r64[n].grad
    expected |= {"lambda1": lambda1, "lambda2": lambda2, "lambda1.grad": l1.grad,
                 "lambda2.grad": l2.grad}
    write_safetensors(os.path.join(out_folder, "expected.safetensors"), expected)
    print("loss", loss.item(), "router lm", lm.item(), "reg", reg.item())
    print("z", expected["router.z"].tolist())
    if name == "decoder":
        layer_router(w, ids, normal)


def main():
    for name in sys.argv[1:] or CONFIGS:
        write(name)


if __name__ == "__main__":
    main()
