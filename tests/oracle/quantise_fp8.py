"""Makes a folder with block-scaled FP8 weights of one in full precision, in the form that is published
(Qwen3-8B-FP8, DeepSeek-V3): each linear weight of the layers float8_e4m3fn, <name>_scale_inv float32 beside it."""
import json
import os
import shutil

import torch
from safetensors.torch import load_file, save_file

LARGEST = 448.0


def spread(scales, shape, block):
    """The scale of each value."""
    return scales.repeat_interleave(block[0], 0).repeat_interleave(block[1], 1)[:shape[0], :shape[1]]


def quantised(weight, block):
    """-> values, scales"""
    rows, columns = (-(-n // b) for n, b in zip(weight.shape, block))
    padded = torch.zeros(rows * block[0], columns * block[1])
    padded[:weight.shape[0], :weight.shape[1]] = weight
    most = padded.view(rows, block[0], columns, block[1]).abs().amax((1, 3))
    scales = torch.where(most > 0, most / LARGEST, torch.ones(()))
    return (weight / spread(scales, weight.shape, block)).to(torch.float8_e4m3fn), scales


def quantise(source, folder, full, block=(128, 128)):
    """Of the folder `source` (one file) makes `folder`, in FP8, and `full`, what those weights are in float32."""
    weights = load_file(os.path.join(source, "model.safetensors"))
    stored, exact = {}, {}
    for name, w in weights.items():
        exact[name] = w.float()
        if ".layers." not in name or w.dim() != 2:
            stored[name] = w
            continue
        values, scales = quantised(w.float(), block)
        stored[name], stored[name + "_scale_inv"] = values, scales
        exact[name] = values.float() * spread(scales, w.shape, block)
    with open(os.path.join(source, "config.json")) as file:
        config = json.load(file)
    for path, tensors, more in (
            (folder, stored, {"quantization_config": {"activation_scheme": "dynamic", "fmt": "e4m3",
                                                      "quant_method": "fp8", "weight_block_size": list(block)}}),
            (full, exact, {})):
        os.makedirs(path, exist_ok=True)
        save_file(tensors, os.path.join(path, "model.safetensors"), {"format": "pt"})
        shutil.copy(os.path.join(source, "generation_config.json"), path)
        with open(os.path.join(path, "config.json"), "w") as file:
            json.dump({**config, **more}, file, indent=2)
            file.write("\n")
