#!/usr/bin/env python3
"""What the transformers library makes of rope scalings: frequencies, and logits of small folders.

    venv/bin/python tests/oracle/make_rope_fixtures.py            (torch, transformers)

Writes tests/fixtures/rope/: frequencies.json (inverse frequencies and attention factor of published
and made-up settings, on the shapes of configs/models), and per case of CASES a folder with config.json
and expected.safetensors (rows of logits of a sequence of four times the original length, float32). The
weights and the sequence are those of tests/fixtures/hf, of the folder named as the model_type. Prints
how much each setting moves the logits.
"""
import json
import os
import shutil
import tempfile

import numpy as np
import torch
from safetensors.numpy import save_file
from transformers import AutoConfig
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from compare_logits import reference

HERE = os.path.dirname(os.path.abspath(__file__))
OUT = os.path.join(HERE, "..", "fixtures", "rope")
BASES = os.path.join(HERE, "..", "fixtures", "hf")
MODELS = os.path.join(HERE, "..", "..", "configs", "models")
ORIGINAL, LENGTH, EVERY = 150, 600, 37  # LENGTH: of the third sequence of a base

# Folder of configs/models, keys. Qwen's card for 128K; DeepSeek's, whose attn_factor the library passes
# over: it is given as attention_factor.
FREQUENCIES = {
    "Qwen3-8B, 128K": ("Qwen3-8B", {"rope_type": "yarn", "factor": 4.0,
                                    "original_max_position_embeddings": 32768}),
    "Qwen3-8B, 64K": ("Qwen3-8B", {"rope_type": "yarn", "factor": 2.0,
                                   "original_max_position_embeddings": 32768}),
    "DeepSeek-R1-0528-Qwen3-8B": ("Qwen3-8B", {"rope_type": "yarn", "factor": 4.0,
                                               "original_max_position_embeddings": 32768,
                                               "attn_factor": 0.8782488562869419}),
    "Llama-3.1-8B-Instruct": ("Llama-3.1-8B-Instruct", None),
    "mscale": ("Qwen3-8B", {"type": "yarn", "factor": 40, "mscale": 1.0, "mscale_all_dim": 0.707,
                            "original_max_position_embeddings": 4096}),
    "mscale alone": ("Qwen3-8B", {"rope_type": "yarn", "factor": 40.0, "mscale": 0.5,
                                  "original_max_position_embeddings": 4096}),
    "not truncated": ("Qwen3-8B", {"rope_type": "yarn", "factor": 32.0, "beta_fast": 32.0,
                                   "beta_slow": 1.0, "truncate": False,
                                   "original_max_position_embeddings": 4096}),
    "other betas": ("Qwen3-8B", {"rope_type": "yarn", "factor": 8.0, "beta_fast": 64, "beta_slow": 0.5,
                                 "attention_factor": 1.25,
                                 "original_max_position_embeddings": 2048}),
    "no original length": ("Qwen2.5-7B-Instruct", {"type": "yarn", "factor": 4.0}),
    "a ramp of one index": ("Qwen3-8B", {"rope_type": "yarn", "factor": 2.0, "beta_fast": 1e-4,
                                         "beta_slow": 1e-4,
                                         "original_max_position_embeddings": 1e9}),
    "linear": ("Qwen3-8B", {"rope_type": "linear", "factor": 4.0}),
}

YARN = {"factor": 4.0, "original_max_position_embeddings": ORIGINAL}
# Base folder, key of config.json, its scaling. rope_theta is 10,000 everywhere: heads are small.
CASES = {
    "linear-v4": ("llama", "rope_scaling", {"type": "linear", "factor": 4.0}),
    "linear-v5": ("qwen3", "rope_parameters", {"rope_type": "linear", "factor": 4.0}),
    "yarn-v4": ("qwen2", "rope_scaling", {"type": "yarn", **YARN}),
    "yarn-v5": ("qwen3", "rope_parameters", {"rope_type": "yarn", **YARN}),
    "yarn-mscale-v4": ("llama", "rope_scaling", {"rope_type": "yarn", "mscale": 1.0,
                                                 "mscale_all_dim": 0.5, "beta_fast": 6, "beta_slow": 2,
                                                 **YARN}),
    "yarn-exact-v5": ("qwen3", "rope_parameters", {"rope_type": "yarn", "truncate": False,
                                                   "beta_fast": 8.0, "attention_factor": 0.9, **YARN}),
}


def frequencies(model, scaling):
    with open(os.path.join(MODELS, model, "config.json")) as f:
        keys = json.load(f)
    if scaling is not None:
        keys["rope_scaling"] = dict(scaling)
        if "attn_factor" in scaling:
            keys["rope_scaling"]["attention_factor"] = keys["rope_scaling"].pop("attn_factor")
    with tempfile.TemporaryDirectory() as folder:
        with open(os.path.join(folder, "config.json"), "w") as f:
            json.dump(keys, f)
        config = AutoConfig.from_pretrained(folder)
    kind = config.rope_parameters["rope_type"]
    inverse, scale = ROPE_INIT_FUNCTIONS[kind](config, torch.device("cpu"))
    return {"model": model, "rope_scaling": scaling, "inverse": inverse.double().tolist(),
            "scale": scale}


def config_of(base, key, scaling):
    with open(os.path.join(BASES, base, "config.json")) as f:
        config = json.load(f)
    for old in ("rope_scaling", "rope_parameters", "rope_theta"):
        config.pop(old, None)
    if key == "rope_scaling":
        config |= {"rope_theta": 10000.0, "rope_scaling": scaling}
    else:
        config["rope_parameters"] = {"rope_theta": 10000.0, **scaling}
    return config | {"max_position_embeddings": LENGTH}


def logits(base, config):
    with tempfile.TemporaryDirectory() as folder:
        for name in os.listdir(os.path.join(BASES, base)):
            if name.startswith("model"):
                shutil.copy(os.path.join(BASES, base, name), folder)
        with open(os.path.join(folder, "config.json"), "w") as f:
            json.dump(config, f)
        with open(os.path.join(BASES, base, "tokens.json")) as f:
            sequence = json.load(f)[2]
        assert len(sequence) == LENGTH == 4 * ORIGINAL
        return reference(folder, [sequence], torch.float32)[0]


def main():
    shutil.rmtree(OUT, ignore_errors=True)
    os.makedirs(OUT)
    with open(os.path.join(OUT, "frequencies.json"), "w") as f:
        json.dump({name: frequencies(*case) for name, case in FREQUENCIES.items()}, f, indent=1)
        f.write("\n")
    for name, (base, key, scaling) in CASES.items():
        folder = os.path.join(OUT, name)
        os.makedirs(folder)
        config = config_of(base, key, scaling)
        with open(os.path.join(folder, "config.json"), "w") as f:
            json.dump(config, f, indent=1)
            f.write("\n")
        want = logits(base, config)
        save_file({"logits": np.ascontiguousarray(want[EVERY - 1::EVERY])},
                  os.path.join(folder, "expected.safetensors"))
        print(f"{name}: logits of standard deviation {want.std():.2f}; they move by")
        others = {"no scaling": None}
        for changed in scaling:
            if changed not in ("type", "rope_type"):
                others["no " + changed] = {k: v for k, v in scaling.items() if k != changed}
        for other, keys in others.items():
            if keys is None or "factor" in keys:
                moved = logits(base, config_of(base, key, keys or {"rope_type": "default"}))
                print(f"    {np.abs(moved - want)[EVERY - 1::EVERY].max():.3g} with {other}")


main()
