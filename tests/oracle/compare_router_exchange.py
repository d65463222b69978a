#!/usr/bin/env python3
"""Routers out to PyTorch and in from it, at the sizes of published models.

    venv/bin/python tests/oracle/compare_router_exchange.py BUILD     (torch, safetensors)

Out: routers are trained for a few steps (configs/tiny/router.yaml, and with the options), exported
as hf-reference and loaded by PyTorch's load_state_dict with strict=True into published_router.py,
built from the config.json. In: random routers of 36 layers with 8 kv heads of 128, saved by the
safetensors library in float32, bfloat16 and float16, in one file and in shards, alone and among
backbone tensors, are read; those that fit the small backbone are imported and read from the
checkpoint too. Every time logits and gates on the same key states must agree: logits within 1e-5 of
the largest, gates wherever the two logits differ by more than that.
"""
import json
import os
import subprocess
import sys
import tempfile

import torch
from safetensors.torch import load_file, save_file

import published_router

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
BACKBONE = os.path.join(ROOT, "configs", "tiny", "backbone")
BUILD = os.path.abspath(sys.argv[1])


def run(*command):
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr


def elastron(*arguments):
    run(os.path.join(BUILD, "elastron"), *arguments)


def key_states(layers, heads, dim, tokens):
    return [torch.randn(tokens, heads, dim) + 3 * torch.randn(heads, dim) for _ in range(layers)]


def compare(title, model, source, keys, scratch):
    save_file({f"layer_{i}": k for i, k in enumerate(keys)}, f"{scratch}/keys.safetensors")
    run(os.path.join(BUILD, "tests", "train", "router_probe"), source,
        f"{scratch}/keys.safetensors", f"{scratch}/out.safetensors")
    ours = load_file(f"{scratch}/out.safetensors")
    worst, full, heads = 0.0, 0, 0
    for i, (logits, gates) in enumerate(model.route(keys)):
        scale = logits.abs().max().item()
        error = (ours[f"logits_{i}"] - logits).abs().max().item() / scale
        worst = max(worst, error)
        assert error < 1e-5, (title, i, error)
        margin = (logits[:, 1] - logits[:, 0] if logits.shape[1] == 2 else logits[:, 0]).abs()
        decided = margin > 1e-5 * scale
        assert torch.equal(ours[f"gates_{i}"].bool()[decided], gates[decided]), (title, i)
        full += int(gates.sum())
        heads += len(gates)
    print(f"{title:<44} logits within {worst:.1e} | {full} of {heads} heads full", flush=True)


def build_from(folder, layers, heads, dim):
    """As the published code would: from config.json, then the tensors, strictly."""
    with open(f"{folder}/config.json") as f:
        config = json.load(f)
    state = load_file(f"{folder}/router.safetensors")
    width = state["model.layers.0.self_attn.mask_allocator.cls_feat_extractor.0.weight"].shape[0]
    embedding = any("task_embedding" in n for n in state)
    model = published_router.PawForCausalLM(layers, heads, dim, width // dim,
                                            2 if config["use_softmax"] else 1, embedding)
    model.load_state_dict(state, strict=True)
    assert config["architectures"] == ["PawQwen3ForCausalLM"]
    assert all(p.item() == 0 for p in (model.model.sparsity_lambda_1, model.model.sparsity_lambda_2))
    for layer in model.model.layers:
        assert torch.all(layer.self_attn.attn_mask_log_alphas == 4.0)
    return model, config


def outward(scratch):
    with open(f"{BACKBONE}/config.json") as f:
        backbone = json.load(f)
    layers, heads, dim = (backbone[k] for k in
                          ("num_hidden_layers", "num_key_value_heads", "head_dim"))
    cases = {"trained, softmax": [], "trained, sigmoid": ["router.kind=sigmoid"],
             "trained, with the options": ["router.task_embedding=true", "router.hidden_mult=2",
                                           "router.tau_schedule=learned", "router.tau.init=0.7"]}
    for i, (title, settings) in enumerate(cases.items()):
        folder = f"{scratch}/out{i}"
        sets = [a for s in settings + ["train.steps=3", "train.warmup_ratio=0", "train.global_batch=2",
                                       "data.synthetic.lengths=[256]", f"output.dir={folder}/run"]
                for a in ("--set", s)]
        elastron("train", "configs/tiny/router.yaml", *sets)
        elastron("export", "--checkpoint", f"{folder}/run", "--out", f"{folder}/hf",
                 "--format", "hf-reference", "--model", BACKBONE)
        elastron("export", "--checkpoint", f"{folder}/run", "--out", f"{folder}/own")
        model, config = build_from(f"{folder}/hf", layers, heads, dim)
        assert config["hidden_size"] == backbone["hidden_size"]
        learned = model.model.layers[0].self_attn.mask_allocator.log_temp.item()
        assert (learned != 0) == (i == 2), learned
        keys = key_states(layers, heads, dim, 150)
        for source in ("run", "hf", "own", "own/router.safetensors"):
            compare(f"{title}: {source}", model, f"{folder}/{source}", keys, scratch)


def inward(scratch):
    with open(f"{BACKBONE}/config.json") as f:
        backbone = json.load(f)
    tiny = tuple(backbone[k] for k in ("num_hidden_layers", "num_key_value_heads", "head_dim"))
    large = (36, 8, 128)
    for i, (title, shape, classes, dtype, others, shards) in enumerate((
            ("float32, alone", large, 2, torch.float32, False, 1),
            ("bfloat16, 4 shards with backbone tensors", large, 2, torch.bfloat16, True, 4),
            ("float16, sigmoid, one file", large, 1, torch.float16, True, 1),
            ("small, float32", tiny, 2, torch.float32, False, 1),
            ("small, bfloat16, sigmoid, 2 shards", tiny, 1, torch.bfloat16, True, 2))):
        folder = f"{scratch}/in{i}"
        os.makedirs(folder)
        model = published_router.PawForCausalLM(*shape, classes=classes).randomize(0.1).to(dtype)
        state = model.state_dict()
        if others:
            state["model.embed_tokens.weight"] = torch.zeros(9, 4, dtype=dtype)
        if shards == 1:
            save_file(state, f"{folder}/{'model' if others else 'router'}.safetensors")
        else:
            names, weight_map = sorted(state), {}
            for s in range(shards):
                file = f"model-{s + 1:05}-of-{shards:05}.safetensors"
                save_file({n: state[n] for n in names[s::shards]}, f"{folder}/{file}")
                weight_map |= {n: file for n in names[s::shards]}
            with open(f"{folder}/model.safetensors.index.json", "w") as f:
                json.dump({"metadata": {}, "weight_map": weight_map}, f)
        with open(f"{folder}/config.json", "w") as f:
            json.dump(published_router.config(classes), f)
        model = model.float()
        keys = key_states(*shape, 3000 if shape == large else 60)
        compare(title, model, folder, keys, scratch)
        if shape == tiny:
            elastron("import", "--from", folder, "--model", BACKBONE, "--out", f"{folder}/imported")
            compare(title + ", imported", model, f"{folder}/imported", keys, scratch)


def main():
    torch.manual_seed(5)
    with tempfile.TemporaryDirectory() as scratch:
        outward(scratch)
        inward(scratch)


main()
