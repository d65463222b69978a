#!/usr/bin/env python3
"""Compares `elastron logits` with the transformers library on random model folders.

    python3 -m venv venv && venv/bin/pip install torch transformers h5py
    venv/bin/python tests/oracle/compare_logits.py --program build/elastron [--ranks 1,2,4] [--only qwen3]

Makes a folder of every family with every rule of positions in float32 and bfloat16 (as transformers 4
and 5 write the rule; beyond the original length by a factor of 4), and folders of odd shapes (GQA 1:1 to
8:1, head_dim 80 and 96, vocabularies that no number of ranks divides, tied and untied embeddings, one
file and shards, float16), with sequences of 1 to 4096 tokens. Runs both programs and prints one table of
the largest difference of each. Ends with 1 when float32 differs by more than 2e-4, or bfloat16 by more
than twice what two bfloat16 implementations of PyTorch (eager and SDPA attention) differ by.
"""
import argparse
import json
import os
import subprocess
import sys
import tempfile
import typing

import h5py
import numpy as np
import torch
from transformers import (AutoModelForCausalLM, LlamaConfig, MistralConfig, Qwen2Config, Qwen3Config,
                          Qwen3MoeConfig)

ORIGINAL = 1024  # positions before a rule stretches them
LENGTHS = (1, 2, 63, 64, 65, 700, 4 * ORIGINAL)
# name: the scaling, and whether it is written as transformers 4 did
ROPES = {
    "default": (None, False),
    "llama3": ({"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                "original_max_position_embeddings": 512}, False),
    "linear": ({"type": "linear", "factor": 4.0}, True),
    "yarn": ({"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": ORIGINAL}, False),
}
# More of YaRN's keys.
MORE_ROPES = {
    "yarn, exact": ({"rope_type": "yarn", "truncate": False, "factor": 4.0,
                     "original_max_position_embeddings": ORIGINAL}, False),
    "yarn, mscale": ({"type": "yarn", "mscale": 1.0, "mscale_all_dim": 0.707, "factor": 4.0,
                      "original_max_position_embeddings": ORIGINAL}, True),
    "yarn, betas": ({"type": "yarn", "beta_fast": 16, "beta_slow": 2, "attention_factor": 0.9, "factor": 4.0,
                     "original_max_position_embeddings": ORIGINAL}, True),
}
class Case(typing.NamedTuple):
    family: str
    q: int
    kv: int
    dim: int
    hidden: int
    mlp: int
    layers: int
    vocabulary: int
    tied: bool
    dtype: str = "float32"
    shards: str | None = None
    rope: str = "default"
    experts: dict | None = None  # what the config of a mixture says of them


SHAPES = [
    Case("qwen3", 8, 4, 64, 256, 512, 3, 1003, True),
    Case("llama", 8, 2, 64, 512, 768, 3, 1003, False),
    Case("qwen2", 14, 2, 64, 896, 512, 2, 1003, False),
    Case("mistral", 8, 2, 128, 320, 512, 3, 1003, False),
    Case("qwen3_moe", 8, 4, 64, 256, 512, 3, 1003, False,
         experts=dict(num_experts=16, num_experts_per_tok=4, moe_intermediate_size=96, norm_topk_prob=True)),
]
CASES = [shape._replace(rope=rope, dtype=dtype)
         for shape in SHAPES for rope in ROPES for dtype in ("float32", "bfloat16")]
CASES += [
    Case("qwen3", 8, 2, 128, 192, 320, 2, 997, False, shards="400KB"),
    Case("qwen3", 4, 4, 80, 160, 256, 2, 517, False, dtype="float16"),
    Case("qwen3", 8, 1, 96, 128, 256, 2, 2049, True),
    Case("qwen3", 8, 4, 64, 256, 512, 3, 1003, True, rope="yarn, exact"),
    Case("llama", 4, 4, 96, 384, 512, 2, 331, True, shards="300KB", rope="llama3"),
    Case("llama", 8, 1, 80, 640, 512, 2, 1111, False, dtype="float16", rope="llama3"),
    Case("llama", 8, 2, 64, 512, 768, 3, 1003, False, rope="yarn, mscale"),
    Case("qwen2", 8, 4, 32, 256, 384, 3, 517, True),
    Case("qwen3_moe", 8, 4, 32, 192, 320, 4, 517, True, dtype="float16",
         experts=dict(num_experts=128, num_experts_per_tok=8, moe_intermediate_size=32, decoder_sparse_step=2,
                      mlp_only_layers=[3])),
    Case("qwen2", 14, 2, 64, 896, 512, 2, 1003, False, shards="900KB", rope="yarn, betas"),
]


def theta(case):
    return 500000.0 if case.family == "llama" else 1000000.0


def make_folder(path, case, seed):
    common = dict(hidden_size=case.hidden, intermediate_size=case.mlp, num_hidden_layers=case.layers,
                  num_attention_heads=case.q, num_key_value_heads=case.kv, head_dim=case.dim,
                  vocab_size=case.vocabulary, tie_word_embeddings=case.tied,
                  max_position_embeddings=4 * ORIGINAL, bos_token_id=0, eos_token_id=1,
                  initializer_range=0.06, rope_theta=theta(case))
    if case.family == "qwen3":
        config = Qwen3Config(**common)
    elif case.family == "qwen3_moe":
        config = Qwen3MoeConfig(**common, **case.experts)
    elif case.family == "qwen2":
        config = Qwen2Config(**common)
    elif case.family == "mistral":
        config = MistralConfig(rms_norm_eps=1e-5, sliding_window=None, **common)
    else:
        config = LlamaConfig(rms_norm_eps=1e-5, **common)
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for name, p in model.named_parameters():
            if "norm" in name:
                p.add_(torch.randn_like(p) * 0.1)
            elif name.endswith("mlp.gate.weight"):  # choices that rounding does not change
                p.add_(torch.randn_like(p) * 0.2)
            elif name.endswith("bias"):  # the library starts them at 0
                p.add_(torch.randn_like(p) * 0.5)
    model = model.to(getattr(torch, case.dtype)).eval()
    model.save_pretrained(path, **({"max_shard_size": case.shards} if case.shards else {}))
    scaling, old = (ROPES | MORE_ROPES)[case.rope]
    if scaling is not None:
        scale_positions(path, theta(case), scaling, old)


def scale_positions(path, base, scaling, old):
    """Puts a rope scaling into the config.json of a folder."""
    name = os.path.join(path, "config.json")
    with open(name) as f:
        config = json.load(f)
    config.pop("rope_parameters")
    if old:
        config |= {"rope_theta": base, "rope_scaling": scaling}
    else:
        config["rope_parameters"] = {"rope_theta": base, **scaling}
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


def compare(case, seed, program, ranks):
    """-> a row of the table, and whether all of it is allowed."""
    with tempfile.TemporaryDirectory() as path:
        make_folder(path, case, seed)
        rng = np.random.default_rng(seed)
        sequences = [rng.integers(0, case.vocabulary, n).tolist() for n in LENGTHS]
        tokens = os.path.join(path, "tokens.json")
        with open(tokens, "w") as f:
            json.dump(sequences, f)
        half = case.dtype == "bfloat16"
        want = reference(path, sequences, torch.bfloat16 if half else torch.float32)
        allowed = 2e-4
        if half:
            allowed = 2 * worst(want, reference(path, sequences, torch.bfloat16, "eager"))
        found = [worst(ours(program, n, path, tokens, "bfloat16" if half else "float32"), want)
                 for n in ranks]
    deviation = float(np.std(np.concatenate([w.ravel() for w in want])))
    shape = f"{case.q}:{case.kv} heads of {case.dim}" + (", shards" if case.shards else "")
    row = [case.family, shape, case.rope, case.dtype, *(f"{d:.2g}" for d in found), f"{allowed:.2g}",
           f"{deviation:.2f}"]
    return row, max(found) <= allowed


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--program", default="build/elastron")
    parser.add_argument("--ranks", default="1,2,4")
    parser.add_argument("--only", default="", help="a family")
    arguments = parser.parse_args()
    ranks = [int(n) for n in arguments.ranks.split(",")]
    header = ["family", "shape", "rope", "dtype", *(f"{n} rank{'s' if n > 1 else ''}" for n in ranks),
              "allowed", "deviation of logits"]
    print("| " + " | ".join(header) + " |\n|" + "---|" * len(header), flush=True)
    failed = 0
    for seed, case in enumerate(CASES):
        if arguments.only and case.family != arguments.only:
            continue
        row, fine = compare(case, seed, arguments.program, ranks)
        failed += not fine
        print("| " + " | ".join(row) + " |" + ("" if fine else "  TOO MUCH"), flush=True)
    print(f"{failed} rows differ by more than is allowed" if failed else "all rows are within what is allowed")
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
