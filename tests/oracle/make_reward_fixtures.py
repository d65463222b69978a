#!/usr/bin/env python3
"""Fixtures of reward training, from an independent PyTorch implementation.

    python3 tests/oracle/make_reward_fixtures.py        (Debian: python3-torch, python3-numpy)

Writes tests/fixtures/reward/: a Hugging Face folder with a random Qwen3 causal LM (tied embeddings),
scalars.json with the pairs and what they score, and expected.safetensors. Every sequence is computed
alone, behind a prompt of its own, in float64 with gradients by PyTorch's autograd; weights are float32
values. `compare_reward.py fixtures` holds the same against transformers and peft.

scalars.json:
    pairs       per pair: prompt, chosen, rejected (lists of ids; both sequences begin with prompt)
    settings    rank, alpha, targets, beta, gamma, margins, label_smoothing
    expected    the small numbers of expected.safetensors again, under the same names

The losses are means over the pairs: bt, without margins; bt_margin, with them; bt_smoothing, with the
label smoothing and no margins; simpo, on the mean log-probabilities of the response tokens.

expected.safetensors, in float64 but for the parameters (float32). TRUNK: the names in TRUNK below;
ADAPTER: the eight weights of the targets with .weight replaced by .lora_A.weight and .lora_B.weight:
    score.weight                     [1, hidden]  the head
    lora.param.ADAPTER               A [rank, in], B [out, rank]; y = (W + alpha / rank B A) x
    bt.rewards, bt_lora.rewards      [pairs, 2]   chosen, rejected
    bt.loss, bt_lora.loss, bt_margin.loss, bt_smoothing.loss, simpo.loss, simpo_lora.loss     [1]
    bt.grad.score.weight, bt.grad.TRUNK                        all weights train
    bt_lora.grad.score.weight, bt_lora.grad.ADAPTER            the trunk is frozen
    simpo.mean_log_probs, simpo_lora.mean_log_probs            [pairs, 2]
    simpo.grad.TRUNK                 model.embed_tokens.weight holds both of its uses
    simpo_lora.grad.ADAPTER
"""
import json
import os

import torch

from make_decoder_fixtures import CONFIG as DECODER, attend, masks, rms, rope
from safetensors_file import write_safetensors

OUT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "fixtures", "reward")
# Constants of norm and RoPE stay those of the decoder's fixture, whose functions are used.
CONFIG = DECODER | dict(
    hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
    num_key_value_heads=2, head_dim=8, vocab_size=48, tie_word_embeddings=True, pad_token_id=2)
SIZES = ((3, 4, 2), (2, 7, 1))  # tokens of prompt, chosen and rejected response: 7 and 5, 9 and 3
TRUNK = ("model.embed_tokens.weight", "model.layers.0.input_layernorm.weight",
         "model.layers.0.self_attn.q_proj.weight", "model.layers.0.self_attn.k_proj.weight",
         "model.layers.0.self_attn.k_norm.weight", "model.layers.1.mlp.down_proj.weight",
         "model.norm.weight")
RANK, ALPHA = 2, 4
TARGETS = {"self_attn": ("q_proj", "v_proj", "o_proj"), "mlp": ("down_proj",)}
BETA, GAMMA = 2.5, 0.5
MARGINS, SMOOTHING = (0.3, 0.0), 0.1
torch.set_default_dtype(torch.float64)


def normal(rng, *shape, std=0.25):
    return (torch.randn(*shape, generator=rng) * std).float()


def random_model(rng):
    c = CONFIG
    h, f, d = c["hidden_size"], c["intermediate_size"], c["head_dim"]
    q, k = c["num_attention_heads"] * d, c["num_key_value_heads"] * d
    w = {"model.embed_tokens.weight": normal(rng, c["vocab_size"], h, std=0.5),
         "model.norm.weight": 1 + normal(rng, h)}
    for i in range(c["num_hidden_layers"]):
        p = f"model.layers.{i}."
        for name, shape in {"self_attn.q_proj": (q, h), "self_attn.k_proj": (k, h),
                            "self_attn.v_proj": (k, h), "self_attn.o_proj": (h, q),
                            "mlp.gate_proj": (f, h), "mlp.up_proj": (f, h),
                            "mlp.down_proj": (h, f)}.items():
            w[p + name + ".weight"] = normal(rng, *shape)
        for name, n in {"input_layernorm": h, "post_attention_layernorm": h,
                        "self_attn.q_norm": d, "self_attn.k_norm": d}.items():
            w[p + name + ".weight"] = 1 + normal(rng, n)
    return w


def random_adapters(rng, weights):
    """A and B of every target; B is not zero, so that A has a gradient."""
    adapters = {}
    for i in range(CONFIG["num_hidden_layers"]):
        for block, names in TARGETS.items():
            for name in names:
                p = f"model.layers.{i}.{block}.{name}"
                out, inner = weights[p + ".weight"].shape
                adapters[p + ".lora_A.weight"] = normal(rng, RANK, inner)
                adapters[p + ".lora_B.weight"] = normal(rng, out, RANK)
    return adapters


def adapted(w, adapters):
    """The weights with the adapters' products added."""
    merged = dict(w)
    for name, a in adapters.items():
        if ".lora_A." in name:
            b = adapters[name.replace("lora_A", "lora_B")]
            target = name.replace(".lora_A", "")
            merged[target] = w[target] + ALPHA / RANK * b @ a
    return merged


def hidden_states(w, ids):
    """After the final norm, of one sequence: [tokens, hidden]."""
    c = CONFIG
    n, hq, hk, d = len(ids), c["num_attention_heads"], c["num_key_value_heads"], c["head_dim"]
    positions, causal = torch.arange(n), masks(n)[0]
    x = w["model.embed_tokens.weight"][ids]
    for i in range(c["num_hidden_layers"]):
        g = lambda name: w[f"model.layers.{i}.{name}.weight"]
        n1 = rms(x, g("input_layernorm"))
        q = rms((n1 @ g("self_attn.q_proj").T).view(n, hq, d), g("self_attn.q_norm"))
        k = rms((n1 @ g("self_attn.k_proj").T).view(n, hk, d), g("self_attn.k_norm"))
        v = (n1 @ g("self_attn.v_proj").T).view(n, hk, d)
        heads = lambda t: t.repeat_interleave(hq // hk, 1)
        out = attend(rope(q, positions), heads(rope(k, positions)), heads(v), causal)
        x = x + out.reshape(n, hq * d) @ g("self_attn.o_proj").T
        n2 = rms(x, g("post_attention_layernorm"))
        h = torch.nn.functional.silu(n2 @ g("mlp.gate_proj").T) * (n2 @ g("mlp.up_proj").T)
        x = x + h @ g("mlp.down_proj").T
    return rms(x, w["model.norm.weight"])


def per_response(score, pairs):
    """[pairs, 2]: score(sequence, tokens of its prompt) of chosen and rejected."""
    return torch.stack([torch.stack([score(torch.tensor(pair[side]), len(pair["prompt"]))
                                     for side in ("chosen", "rejected")]) for pair in pairs])


def rewards(w, head, pairs):
    return per_response(lambda ids, _: (head @ hidden_states(w, ids)[-1])[0], pairs)


def mean_log_probs(w, pairs):
    def score(ids, prompt):
        logits = hidden_states(w, ids)[prompt - 1: -1] @ w["model.embed_tokens.weight"].T
        return torch.log_softmax(logits, -1).gather(1, ids[prompt:, None]).mean()
    return per_response(score, pairs)


def bradley_terry(r, margins=(0.0, 0.0), smoothing=0.0):
    x = r[:, 0] - r[:, 1] - torch.tensor(margins)
    softplus = torch.nn.functional.softplus
    return ((1 - smoothing) * softplus(-x) + smoothing * softplus(x)).mean()


def simpo(p):
    return torch.nn.functional.softplus(-(BETA * (p[:, 0] - p[:, 1]) - GAMMA)).mean()


def random_pairs(rng):
    """The two responses of a pair differ in their first token: the prompt is all they share."""
    pairs = []
    for prompt, chosen, rejected in SIZES:
        ids = torch.randint(3, CONFIG["vocab_size"], (prompt + chosen + rejected,), generator=rng)
        head, one, other = (t.tolist() for t in ids.split([prompt, chosen, rejected]))
        assert one[0] != other[0]
        pairs.append(dict(prompt=head, chosen=head + one, rejected=head + other))
    return pairs


def leaves(tensors):
    return {n: t.double().requires_grad_() for n, t in tensors.items()}


def main():
    os.makedirs(OUT, exist_ok=True)
    rng = torch.Generator().manual_seed(11)
    w = random_model(rng)
    head = normal(rng, 1, CONFIG["hidden_size"], std=0.3)
    adapters = random_adapters(rng, w)
    pairs = random_pairs(rng)
    expected = {"score.weight": head} | {"lora.param." + n: t for n, t in adapters.items()}
    scalars = {"pairs": pairs, "expected": {},
               "settings": {"rank": RANK, "alpha": ALPHA, "targets": sum(map(list, TARGETS.values()), []),
                            "beta": BETA, "gamma": GAMMA, "margins": MARGINS,
                            "label_smoothing": SMOOTHING}}

    def keep(name, loss, gradients=(), **values):
        """The loss, its gradients with respect to leaves by name, and what it was made of."""
        for n, t in (values | {"loss": loss.reshape(1)}).items():
            expected[f"{name}.{n}"] = t
            scalars["expected"][f"{name}.{n}"] = t.tolist()
        if gradients:
            loss.backward()
        for n in gradients:
            assert 1e-4 < gradients[n].grad.norm() < 1e4, (name, n)
            expected[f"{name}.grad.{n}"] = gradients[n].grad

    # All weights train, and the head.
    w64, h64 = leaves(w), leaves({"score.weight": head})
    r = rewards(w64, h64["score.weight"], pairs)
    keep("bt", bradley_terry(r), h64 | {n: w64[n] for n in TRUNK}, rewards=r)
    keep("bt_margin", bradley_terry(r, MARGINS))
    keep("bt_smoothing", bradley_terry(r, smoothing=SMOOTHING))
    w64 = leaves(w)
    p = mean_log_probs(w64, pairs)
    keep("simpo", simpo(p), {n: w64[n] for n in TRUNK}, mean_log_probs=p)

    # The trunk is frozen; adapters train, and the head where there is one.
    frozen = {n: t.double() for n, t in w.items()}
    a64, h64 = leaves(adapters), leaves({"score.weight": head})
    r = rewards(adapted(frozen, a64), h64["score.weight"], pairs)
    keep("bt_lora", bradley_terry(r), h64 | a64, rewards=r)
    a64 = leaves(adapters)
    p = mean_log_probs(adapted(frozen, a64), pairs)
    keep("simpo_lora", simpo(p), a64, mean_log_probs=p)

    with open(os.path.join(OUT, "config.json"), "w") as out:
        json.dump(CONFIG, out, indent=2)
    write_safetensors(os.path.join(OUT, "model.safetensors"), w)
    write_safetensors(os.path.join(OUT, "expected.safetensors"), expected)
    with open(os.path.join(OUT, "scalars.json"), "w") as out:
        json.dump(scalars, out, indent=1)
    for name, value in scalars["expected"].items():
        print(name, value)


if __name__ == "__main__":
    main()
