#!/usr/bin/env python3
"""Folders with routers as the published implementation saves them, and what their routers decide.

    venv/bin/python tests/oracle/make_exchange_fixtures.py     (torch, safetensors)

Writes tests/fixtures/router_exchange/<case>/: config.json and weights, by PyTorch and the safetensors
library, of published_router.py; keys.safetensors (layer_<i>: keys [tokens, kv_heads, head_dim]);
expected.safetensors (logits_<i> [kv_heads, classes] and gates_<i> [kv_heads], of the weights as they
were rounded when they were saved). The larger comparison is compare_router_exchange.py.

"flux" is of Flux Attention: keys.safetensors has queries, and expected.safetensors one gate per layer.
"""
import json
import os
import shutil

import torch
from safetensors.torch import save_file

import published_router

OUT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "fixtures", "router_exchange")
LAYERS, HEADS, DIM = 2, 3, 4
DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
# classes, hidden_mult, dtype, task embedding, tokens, among backbone tensors, in shards
CASES = {
    "alone": (2, 4, "float32", False, 250, False, False),
    "sigmoid": (1, 2, "float32", False, 30, False, False),
    "full_model": (2, 4, "bfloat16", False, 150, True, False),
    "shards": (2, 2, "float16", True, 99, True, True),
}


def save(folder, state, backbone, shards):
    if not backbone:
        save_file(state, os.path.join(folder, "router.safetensors"), {"format": "pt"})
        return
    state = dict(state)
    state["model.embed_tokens.weight"] = torch.zeros(5, 2)
    state["model.layers.0.self_attn.k_proj.weight"] = torch.zeros(HEADS * DIM, 2)
    if not shards:
        save_file(state, os.path.join(folder, "model.safetensors"), {"format": "pt"})
        return
    names, weight_map = sorted(state), {}
    for i in range(2):
        file = f"model-0000{i + 1}-of-00002.safetensors"
        part = {n: state[n] for n in names[i::2]}
        save_file(part, os.path.join(folder, file), {"format": "pt"})
        weight_map |= {n: file for n in part}
    with open(os.path.join(folder, "model.safetensors.index.json"), "w") as f:
        json.dump({"metadata": {}, "weight_map": weight_map}, f, indent=1)


def make_flux():
    """Apart from the others, which stay the same bytes."""
    torch.manual_seed(9)
    folder = os.path.join(OUT, "flux")
    os.makedirs(folder)
    pool_size, group = 20, 2
    model = published_router.PawForCausalLM(LAYERS, HEADS, DIM, pool_size=pool_size)
    model.randomize(0.5)
    queries = [torch.randn(90, HEADS * group, DIM) + 3 * torch.randn(DIM) for _ in range(LAYERS)]
    save(folder, model.state_dict(), False, False)
    with open(os.path.join(folder, "config.json"), "w") as f:
        json.dump(published_router.config(pool_size=pool_size), f, indent=1)
    routed = model.route(queries)
    save_file({f"layer_{i}": q for i, q in enumerate(queries)},
              os.path.join(folder, "keys.safetensors"))
    save_file({f"logits_{i}": l for i, (l, _) in enumerate(routed)}
              | {f"gates_{i}": g.to(torch.uint8) for i, (_, g) in enumerate(routed)},
              os.path.join(folder, "expected.safetensors"))
    print("flux", [g.int().tolist() for _, g in routed])


def main():
    torch.manual_seed(3)
    shutil.rmtree(OUT, ignore_errors=True)
    for name, (classes, mult, dtype, embedding, tokens, backbone, shards) in CASES.items():
        folder = os.path.join(OUT, name)
        os.makedirs(folder)
        model = published_router.PawForCausalLM(LAYERS, HEADS, DIM, mult, classes, embedding)
        model.randomize(0.5).to(DTYPES[dtype])
        # Heads differ, so that their gates do.
        keys = [torch.randn(tokens, HEADS, DIM) + 3 * torch.randn(HEADS, DIM) for _ in range(LAYERS)]
        save(folder, model.state_dict(), backbone, shards)
        with open(os.path.join(folder, "config.json"), "w") as f:
            json.dump(published_router.config(classes), f, indent=1)
        routed = model.float().route(keys)
        save_file({f"layer_{i}": k for i, k in enumerate(keys)},
                  os.path.join(folder, "keys.safetensors"))
        save_file({f"logits_{i}": l for i, (l, _) in enumerate(routed)}
                  | {f"gates_{i}": g.to(torch.uint8) for i, (_, g) in enumerate(routed)},
                  os.path.join(folder, "expected.safetensors"))
        print(name, [g.int().tolist() for _, g in routed])
    make_flux()


main()
