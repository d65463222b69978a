"""Runs of the program that a check compares: their arguments, folders and curves."""
import array
import json
import math
import os
import random
import shutil
import struct

TINY = "configs/tiny/router.yaml"


def random_weights(path, config):
    """Random weights of a Qwen3 model: a block of normal numbers again and again, as float32. The program
    trains routers on stored weights alone."""
    e, f, dim = config["hidden_size"], config["intermediate_size"], config["head_dim"]
    q, kv = config["num_attention_heads"] * dim, config["num_key_value_heads"] * dim
    shapes = {"model.embed_tokens.weight": [config["vocab_size"], e], "model.norm.weight": [e]}
    for i in range(config["num_hidden_layers"]):
        layer = {"self_attn.q_proj": [q, e], "self_attn.k_proj": [kv, e], "self_attn.v_proj": [kv, e],
                 "self_attn.o_proj": [e, q], "self_attn.q_norm": [dim], "self_attn.k_norm": [dim],
                 "mlp.gate_proj": [f, e], "mlp.up_proj": [f, e], "mlp.down_proj": [e, f],
                 "input_layernorm": [e], "post_attention_layernorm": [e]}
        shapes.update({f"model.layers.{i}.{n}.weight": shape for n, shape in layer.items()})
    source = random.Random(7)
    block = array.array("f", (source.gauss(0, config["initializer_range"]) for _ in range(65521))).tobytes()
    header, at = {}, 0
    for name, shape in sorted(shapes.items()):
        size = 4 * math.prod(shape)
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as out:
        out.write(struct.pack("<Q", len(text)) + text)
        for name, shape in sorted(shapes.items()):
            size = 4 * math.prod(shape)
            if len(shape) == 1:  # a norm
                out.write(struct.pack("<f", 1) * shape[0])
            else:
                out.write((block * (size // len(block) + 1))[:size])


def model_of_the_fast_path(folder):
    """A model folder whose heads the Hopper kernels and cuDNN take: head_dim 128, four query heads to a
    kv head."""
    shutil.copytree("configs/tiny/backbone", folder, ignore=shutil.ignore_patterns("*.safetensors", "*.md"))
    path = os.path.join(folder, "config.json")
    with open(path) as file:
        config = json.load(file)
    config.update(hidden_size=512, intermediate_size=1024, num_hidden_layers=4, num_attention_heads=8,
                  num_key_value_heads=2, head_dim=128, max_position_embeddings=8192)
    with open(path, "w") as file:
        json.dump(config, file)
    random_weights(os.path.join(folder, "model.safetensors"), config)


def settings(device, folder, more):
    pairs = {"device": device, "output.dir": folder, "output.tensorboard": "false", **more}
    return [word for key, value in pairs.items() for word in ("--set", f"{key}={value}")]


class Runs:
    """small: as little as an emulated GPU computes in a minute."""

    def __init__(self, small):
        self.steps = 4 if small else 20
        self.less = {"data.synthetic.lengths": "[64]", "data.max_tokens": 200,
                     "train.global_batch": 2} if small else {}
        self.length, self.fast_steps = (64, 1) if small else (1024, 4)

    def tiny(self, device, folder, **more):
        """In float32, with checkpoints at half of the steps and at the end."""
        return ["train", TINY] + settings(device, folder, {
            "train.steps": self.steps, "checkpoint.every": self.steps // 2, "checkpoint.keep": 9,
            **self.less, **more})

    def fast(self, device, folder, model, **more):
        """bfloat16 with heads of 128; documents long enough for cuDNN."""
        return ["train", TINY] + settings(device, folder, {
            "model.path": model, "model.dtype": "bfloat16", "train.steps": self.fast_steps,
            "train.global_batch": 2, "data.max_tokens": 5 * self.length // 2, "data.label_mode": "all",
            "data.synthetic.lengths": f"[{self.length}]", "router.ssa.sink": 64, "router.ssa.local": 256,
            "router.ssa.block": 64, "checkpoint.every": 0, **more})

    def begun_from(self, folder, copy):
        """A copy of a run that goes on from half of its steps."""
        shutil.copytree(folder, copy)
        os.remove(os.path.join(copy, "checkpoints", f"step-{self.steps:08}.h5"))


def curve(folder):
    with open(os.path.join(folder, "metrics.jsonl")) as file:
        lines = [json.loads(line) for line in file]
    return {line["step"]: line for line in lines if "event" not in line}


def compare(a, b, tolerance, keys=("loss", "lm_loss", "msr"), steps=None):
    """The same steps, and each value within `tolerance`; of the first `steps` only, if given."""
    a, b = curve(a), curve(b)
    if not a or sorted(a) != sorted(b):
        raise AssertionError(f"steps {sorted(a)} and {sorted(b)}")
    worst = 0
    for step in sorted(a)[:steps]:
        for key in keys:
            want, got = a[step][key], b[step][key]
            difference = abs(want - got) / max(abs(want), 1e-3)
            if not difference <= worst:  # nor is it a number
                worst, where = difference, f"{key} of step {step}: {want} and {got}"
    if not worst <= tolerance:
        raise AssertionError(f"{where}, more than {tolerance:g} apart")
    return f"largest relative difference {worst:.2g}"


def took_the_fast_path(log):
    """What the program said at its start of who computes attention."""
    with open(log, errors="replace") as file:
        text = file.read()
    if "(sm_90" in text and "attention by sm_90a kernels" not in text:
        raise AssertionError("a GPU of sm_90 without the sm_90a kernels")
    if "full attention by cuDNN" not in text:
        raise AssertionError("full attention is not by cuDNN")
