#!/usr/bin/env python3
"""Peak host memory and time of loading a model folder, per rank.

    venv/bin/python bench/load_memory.py --program build/elastron [--gigabytes 4] [--ranks 1,2,4] [--storage fp8]

Makes a random Qwen3 folder in bfloat16 (torch and safetensors; no transformers), runs
`elastron logits` on one token under each number of ranks, and prints each run's largest resident
size of a rank beside the bytes of its slice.
"""
import argparse
import json
import os
import re
import subprocess
import tempfile
import time

import torch
from safetensors.torch import save_file

HIDDEN, MLP, HEADS, KV, DIM, VOCAB = 2048, 6144, 16, 8, 128, 32003


def make_folder(path, gigabytes):
    layer = HIDDEN * (HEADS + 2 * KV) * DIM + HEADS * DIM * HIDDEN + 3 * HIDDEN * MLP
    layers = max(1, round((gigabytes * 1e9 / 2 - 2 * VOCAB * HIDDEN) / layer))
    config = {"architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "hidden_size": HIDDEN,
              "intermediate_size": MLP, "num_hidden_layers": layers, "num_attention_heads": HEADS,
              "num_key_value_heads": KV, "head_dim": DIM, "vocab_size": VOCAB,
              "rope_theta": 1000000.0, "max_position_embeddings": 4096, "torch_dtype": "bfloat16",
              "tie_word_embeddings": False, "bos_token_id": 0, "eos_token_id": 1}
    with open(os.path.join(path, "config.json"), "w") as f:
        json.dump(config, f)

    def random(*shape):
        return (torch.randn(shape) * 0.02).bfloat16()

    index, split, replicated = {}, 0, 0
    for i in range(-1, layers):
        p = f"model.layers.{i}."
        tensors = {"model.embed_tokens.weight": random(VOCAB, HIDDEN),
                   "lm_head.weight": random(VOCAB, HIDDEN),
                   "model.norm.weight": torch.ones(HIDDEN).bfloat16()} if i < 0 else {
            p + "input_layernorm.weight": torch.ones(HIDDEN).bfloat16(),
            p + "post_attention_layernorm.weight": torch.ones(HIDDEN).bfloat16(),
            p + "self_attn.q_norm.weight": torch.ones(DIM).bfloat16(),
            p + "self_attn.k_norm.weight": torch.ones(DIM).bfloat16(),
            p + "self_attn.q_proj.weight": random(HEADS * DIM, HIDDEN),
            p + "self_attn.k_proj.weight": random(KV * DIM, HIDDEN),
            p + "self_attn.v_proj.weight": random(KV * DIM, HIDDEN),
            p + "self_attn.o_proj.weight": random(HIDDEN, HEADS * DIM),
            p + "mlp.gate_proj.weight": random(MLP, HIDDEN),
            p + "mlp.up_proj.weight": random(MLP, HIDDEN),
            p + "mlp.down_proj.weight": random(HIDDEN, MLP)}
        name = f"model-{i + 2:05d}-of-{layers + 1:05d}.safetensors"
        save_file(tensors, os.path.join(path, name))
        for n, t in tensors.items():
            index[n] = name
            if t.dim() == 2:
                split += t.numel() * 2
            else:
                replicated += t.numel() * 2
    with open(os.path.join(path, "model.safetensors.index.json"), "w") as f:
        json.dump({"metadata": {"total_size": split + replicated}, "weight_map": index}, f)
    with open(os.path.join(path, "tokens.json"), "w") as f:
        f.write("[[5]]")
    return split, replicated


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--program", default="build/elastron")
    parser.add_argument("--gigabytes", type=float, default=4)
    parser.add_argument("--ranks", default="1,2,4")
    parser.add_argument("--storage", choices=["auto", "fp8", "bf16"], default="auto")
    arguments = parser.parse_args()
    bytes_each = 1 if arguments.storage == "fp8" else 2
    with tempfile.TemporaryDirectory() as path:
        split, replicated = make_folder(path, arguments.gigabytes)
        print(f"folder of {(split + replicated) / 1e9:.2f} GB")
        for ranks in map(int, arguments.ranks.split(",")):
            command = ["/usr/bin/time", "-f", "peak %M", arguments.program, "logits", "--model",
                       path, "--set", f"model.storage={arguments.storage}", "--tokens", os.path.join(path, "tokens.json"), "--out",
                       os.path.join(path, "out.h5")]
            if ranks > 1:
                command = ["mpirun", "--allow-run-as-root", "--oversubscribe", "--bind-to", "none",
                           "-np", str(ranks)] + command
            start = time.time()
            run = subprocess.run(command, check=True, stderr=subprocess.PIPE, text=True)
            peak = max(int(k) for k in re.findall(r"peak (\d+)", run.stderr)) * 1024
            slice_bytes = split / ranks * bytes_each / 2 + replicated
            print(f"{ranks} ranks: {time.time() - start:.1f} s, slice {slice_bytes / 1e6:.0f} MB, "
                  f"peak of a rank {peak / 1e6:.0f} MB, {(peak - slice_bytes) / 1e6:.0f} MB more")


if __name__ == "__main__":
    main()
