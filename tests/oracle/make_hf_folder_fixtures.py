#!/usr/bin/env python3
"""Small model folders written by the transformers library, with its logits.

    venv/bin/python tests/oracle/make_hf_folder_fixtures.py [NAME ...]     (torch, transformers)

Writes tests/fixtures/hf/<name>/ (config.json, weights) with tokens.json and expected.safetensors
(logits_<i>, float32) and generated.json (60 greedy tokens after sequences 1 and 2): a Llama folder
with llama3 rope scaling and sequences beyond the original length in two float16 shards, a Qwen3 folder
in bfloat16 with tied embeddings, a Qwen2 folder (biases, no q/k norm) in float32, a Mistral folder (head_dim
apart from the width, no window) in float16, a Qwen3-MoE folder (experts in two of three layers) in float32 and
folders of Qwen3 and Qwen3-MoE in block-scaled FP8, whose logits are those of their weights in float32. With names,
only those. The larger comparison is compare_logits.py.
"""
import json
import os
import shutil
import sys
import tempfile

import numpy as np
import torch
from safetensors.numpy import save_file
from transformers import AutoModelForCausalLM

from compare_logits import Case, make_folder, reference
from quantise_fp8 import quantise

OUT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "fixtures", "hf")
CASES = {
    "llama": Case("llama", 8, 4, 6, 32, 48, 2, 61, False, "float16", "20KB", "llama3"),
    "qwen3": Case("qwen3", 8, 4, 10, 32, 48, 2, 67, True, "bfloat16"),
    "qwen2": Case("qwen2", 8, 4, 4, 32, 48, 2, 71, False),
    "qwen3_fp8": Case("qwen3", 8, 4, 10, 32, 48, 2, 67, True, "bfloat16"),
    "mistral": Case("mistral", 8, 4, 10, 32, 48, 2, 59, False, "float16"),
    "qwen3_moe": Case("qwen3_moe", 8, 4, 6, 32, 24, 3, 53, False,
                      experts=dict(num_experts=6, num_experts_per_tok=3, moe_intermediate_size=12,
                                   norm_topk_prob=True, mlp_only_layers=[1])),
    "qwen3_moe_fp8": Case("qwen3_moe", 8, 4, 6, 32, 24, 2, 59, True,
                          experts=dict(num_experts=5, num_experts_per_tok=2, moe_intermediate_size=8)),
}
# Of those in FP8, no divisor of any side.
BLOCK = (25, 21)
LENGTHS = (1, 9, 600)


def main():
    for seed, (name, case) in enumerate(CASES.items()):
        if sys.argv[1:] and name not in sys.argv[1:]:
            continue
        folder = os.path.join(OUT, name)
        shutil.rmtree(folder, ignore_errors=True)
        scratch = tempfile.mkdtemp()
        full = folder
        if name.endswith("_fp8"):
            full = os.path.join(scratch, "full")
            make_folder(os.path.join(scratch, "source"), case, seed + 10)
            quantise(os.path.join(scratch, "source"), folder, full, BLOCK)
        else:
            make_folder(folder, case, seed + 10)
        rng = np.random.default_rng(seed)
        sequences = [rng.integers(0, case.vocabulary, n).tolist() for n in LENGTHS]
        with open(os.path.join(folder, "tokens.json"), "w") as f:
            json.dump(sequences, f)
        logits = reference(full, sequences, torch.float32)
        # Of the longest every 40th row: enough to see a wrong position.
        logits[2] = np.ascontiguousarray(logits[2][::40])
        save_file({f"logits_{i}": x for i, x in enumerate(logits)},
                  os.path.join(folder, "expected.safetensors"))
        # Greedy continuations; each token follows its prompt by a margin that rounding cannot close.
        model = AutoModelForCausalLM.from_pretrained(full, dtype=torch.float32).eval()
        model.generation_config.eos_token_id = None
        generated = []
        for prompt in sequences[1:]:
            ids = list(prompt)
            for _ in range(60):
                with torch.no_grad():
                    top = model(torch.tensor([ids])).logits[0, -1].topk(2)
                assert top.values[0] - top.values[1] > 1e-4
                ids.append(int(top.indices[0]))
            # Id 0 is a token here, not padding.
            out = model.generate(torch.tensor([prompt]), attention_mask=torch.ones(1, len(prompt)),
                                 max_new_tokens=60, do_sample=False, pad_token_id=0)[0].tolist()
            assert out == ids
            generated.append(ids[len(prompt):])
        with open(os.path.join(folder, "generated.json"), "w") as f:
            json.dump(generated, f)
        shutil.rmtree(scratch)
        print(name, [x.shape for x in logits], float(np.std(logits[2])))


main()
