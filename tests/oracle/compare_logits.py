#!/usr/bin/env python3
"""Compares `elastron logits` with the transformers library on random model folders.

    python3 -m venv venv && venv/bin/pip install torch transformers h5py
    venv/bin/python tests/oracle/compare_logits.py --program build/elastron [--ranks 1,2,4]

Makes folders of several shapes (GQA 1:1 to 8:1, head_dim 80 and 96, vocabularies that no number of
ranks divides, tied and untied embeddings, one file and shards, float32, float16 and bfloat16, llama3,
linear and yarn rope scaling beyond the original length, as transformers 4 and 5 write them) with
sequences of 1 to 4096 tokens, runs both, and prints the largest difference of each. Ends with 1 when
float32 differs by more than 2e-4, or bfloat16 by more than twice what two bfloat16 implementations of
PyTorch (eager and SDPA attention) differ by.
"""
import argparse
import json
import os
import subprocess
import sys
import tempfile

import h5py
import numpy as np
import torch
from transformers import (AutoModelForCausalLM, LlamaConfig, MistralConfig, Qwen2Config, Qwen3Config,
                          Qwen3MoeConfig)

LLAMA3 = {"rope_type": "llama3", "rope_theta": 500000.0, "factor": 8.0, "low_freq_factor": 1.0,
          "high_freq_factor": 4.0, "original_max_position_embeddings": 512}
# name: family, q heads, kv heads, head_dim, hidden, MLP, layers, vocabulary, tied, dtype, shard size and, of a
# mixture, what its config says of experts
CASES = {
    "qwen3-2to1": ("qwen3", 8, 4, 64, 256, 512, 3, 1003, True, "float32", None),
    "qwen3-4to1-shards": ("qwen3", 8, 2, 128, 192, 320, 2, 997, False, "float32", "400KB"),
    "qwen3-1to1-dim80": ("qwen3", 4, 4, 80, 160, 256, 2, 517, False, "float16", None),
    "qwen3-8to1-dim96": ("qwen3", 8, 1, 96, 128, 256, 2, 2049, True, "float32", None),
    "llama-4to1": ("llama", 8, 2, 64, 512, 768, 3, 1003, False, "float32", None),
    "llama-1to1-dim96-tied": ("llama", 4, 4, 96, 384, 512, 2, 331, True, "float32", "300KB"),
    "llama-8to1-dim80": ("llama", 8, 1, 80, 640, 512, 2, 1111, False, "float16", None),
    "qwen2-7to1-shards": ("qwen2", 14, 2, 64, 896, 512, 2, 1003, False, "float32", "900KB"),
    "qwen2-4to1-tied": ("qwen2", 8, 4, 32, 256, 384, 3, 517, True, "float32", None),
    "mistral-4to1-dim128": ("mistral", 8, 2, 128, 320, 512, 3, 1003, False, "float32", "900KB"),
    "qwen3-moe": ("qwen3_moe", 8, 4, 64, 256, 512, 3, 1003, False, "float32", "900KB",
                  dict(num_experts=16, num_experts_per_tok=4, moe_intermediate_size=96, norm_topk_prob=True)),
    "qwen3-moe-dense-layers": ("qwen3_moe", 8, 4, 32, 192, 320, 4, 517, True, "float16", None,
                               dict(num_experts=128, num_experts_per_tok=8, moe_intermediate_size=32,
                                    decoder_sparse_step=2, mlp_only_layers=[3])),
    "qwen3-bfloat16": ("qwen3", 8, 4, 64, 256, 512, 3, 1003, True, "bfloat16", None),
    "llama-bfloat16": ("llama", 8, 2, 64, 512, 768, 3, 1003, False, "bfloat16", None),
    "qwen2-bfloat16": ("qwen2", 8, 4, 32, 256, 512, 3, 1003, True, "bfloat16", None),
}
# The scaling of a case, and whether transformers 4 wrote it; without one a Llama has llama3's.
YARN = {"factor": 4.0, "original_max_position_embeddings": 1024}
ROPES = {
    "qwen3-linear": ({"rope_type": "linear", "factor": 4.0}, False),
    "llama-linear-v4": ({"type": "linear", "factor": 4.0}, True),
    "qwen3-yarn": ({"rope_type": "yarn", **YARN}, False),
    "qwen3-yarn-exact": ({"rope_type": "yarn", "truncate": False, **YARN}, False),
    "llama-yarn-mscale-v4": ({"type": "yarn", "mscale": 1.0, "mscale_all_dim": 0.707, **YARN}, True),
    "qwen2-yarn-betas-v4": ({"type": "yarn", "beta_fast": 16, "beta_slow": 2, "attention_factor": 0.9,
                             **YARN}, True),
}
CASES |= {
    "qwen3-linear": ("qwen3", 8, 4, 64, 256, 512, 3, 1003, True, "float32", None),
    "llama-linear-v4": ("llama", 8, 2, 64, 512, 768, 3, 1003, False, "float32", None),
    "qwen3-yarn": ("qwen3", 8, 4, 128, 256, 512, 3, 1003, True, "float32", None),
    "qwen3-yarn-exact": ("qwen3", 8, 4, 64, 256, 512, 3, 1003, True, "float32", None),
    "llama-yarn-mscale-v4": ("llama", 8, 2, 64, 512, 768, 3, 1003, False, "float32", None),
    "qwen2-yarn-betas-v4": ("qwen2", 14, 2, 64, 896, 512, 2, 1003, False, "float32", None),
}
LENGTHS = (1, 2, 63, 64, 65, 700, 4096)


def make_folder(path, case, seed):
    family, q, kv, dim, hidden, mlp, layers, vocab, tied, dtype, shards, *experts = case
    common = dict(hidden_size=hidden, intermediate_size=mlp, num_hidden_layers=layers,
                  num_attention_heads=q, num_key_value_heads=kv, head_dim=dim, vocab_size=vocab,
                  tie_word_embeddings=tied, max_position_embeddings=4096, bos_token_id=0,
                  eos_token_id=1, initializer_range=0.06)
    if family == "qwen3":
        config = Qwen3Config(rope_theta=1000000.0, **common)
    elif family == "qwen3_moe":
        config = Qwen3MoeConfig(rope_theta=1000000.0, **common, **experts[0])
    elif family == "qwen2":
        config = Qwen2Config(rope_theta=1000000.0, **common)
    elif family == "mistral":
        config = MistralConfig(rope_theta=1000000.0, rms_norm_eps=1e-5, sliding_window=None, **common)
    else:
        config = LlamaConfig(rope_parameters=dict(LLAMA3), rms_norm_eps=1e-5, **common)
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for name, p in model.named_parameters():
            if "norm" in name:
                p.add_(torch.randn_like(p) * 0.1)
            elif name.endswith("mlp.gate.weight"):  # choices that rounding does not change
                p.add_(torch.randn_like(p) * 0.5)
            elif name.endswith("bias"):  # the library starts them at 0
                p.add_(torch.randn_like(p) * 0.5)
    model = model.to(getattr(torch, dtype)).eval()
    model.save_pretrained(path, **({"max_shard_size": shards} if shards else {}))


def scale_positions(path, scaling, old):
    """Puts a rope scaling into the config.json of a folder."""
    name = os.path.join(path, "config.json")
    with open(name) as f:
        config = json.load(f)
    theta = config.pop("rope_parameters")["rope_theta"]
    if old:
        config |= {"rope_theta": theta, "rope_scaling": scaling}
    else:
        config["rope_parameters"] = {"rope_theta": theta, **scaling}
    with open(name, "w") as f:
        json.dump(config, f)


def reference(path, sequences, dtype, attention="sdpa"):
    model = AutoModelForCausalLM.from_pretrained(path, dtype=dtype, attn_implementation=attention)
    with torch.no_grad():
        return [model.eval()(torch.tensor([s])).logits[0].float().numpy() for s in sequences]


def ours(program, ranks, path, tokens, dtype):
    out = os.path.join(path, f"out-{ranks}.h5")
    command = [program, "logits", "--model", path, "--tokens", tokens, "--out", out,
               "--dtype", dtype]
    if ranks > 1:
        command = ["mpirun", "--allow-run-as-root", "--oversubscribe", "--bind-to", "none", "-np",
                   str(ranks)] + command
    subprocess.run(command, check=True)
    with h5py.File(out) as f:
        return [f[f"sequence_{i}/logits"][:] for i in range(len(f))]


def worst(a, b):
    return max(float(np.abs(x - y).max()) for x, y in zip(a, b))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--program", default="build/elastron")
    parser.add_argument("--ranks", default="1,2,4")
    parser.add_argument("--cases", default=",".join(CASES))
    arguments = parser.parse_args()
    failed = False
    for seed, name in enumerate(arguments.cases.split(",")):
        case = CASES[name]
        with tempfile.TemporaryDirectory() as path:
            make_folder(path, case, seed)
            if name in ROPES:
                scale_positions(path, *ROPES[name])
            rng = np.random.default_rng(seed)
            sequences = [rng.integers(0, case[7], n).tolist() for n in LENGTHS]
            tokens = os.path.join(path, "tokens.json")
            with open(tokens, "w") as f:
                json.dump(sequences, f)
            half = case[9] == "bfloat16"
            want = reference(path, sequences, torch.bfloat16 if half else torch.float32)
            scale = float(np.std(np.concatenate([w.ravel() for w in want])))
            allowed = 2e-4
            if half:
                spread = worst(want, reference(path, sequences, torch.bfloat16, "eager"))
                exact = reference(path, sequences, torch.float32)
                allowed = 2 * spread
                print(f"{name}: two PyTorch implementations differ by {spread:.3g}, "
                      f"PyTorch bfloat16 from float32 by {worst(want, exact):.3g}")
            for ranks in map(int, arguments.ranks.split(",")):
                got = ours(arguments.program, ranks, path, tokens,
                           "bfloat16" if half else "float32")
                difference = worst(got, want)
                more = f", from float32 {worst(got, exact):.3g}" if half else ""
                verdict = "ok" if difference <= allowed else "TOO MUCH"
                failed |= difference > allowed
                print(f"{name}, {ranks} ranks: logits of standard deviation {scale:.2f}, largest "
                      f"difference {difference:.3g} (allowed {allowed:.3g}){more} {verdict}",
                      flush=True)
    sys.exit(failed)


if __name__ == "__main__":
    main()
