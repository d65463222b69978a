"""Runs of the program that a check compares: their arguments, folders and curves."""
import json
import os
import shutil

TINY = "configs/tiny/router.yaml"


def shapes_of_the_fast_path(folder):
    """A model folder without weights whose heads the Hopper kernels and cuDNN take: head_dim 128, four
    query heads to a kv head."""
    shutil.copytree("configs/tiny/backbone", folder, ignore=shutil.ignore_patterns("*.safetensors", "*.md"))
    path = os.path.join(folder, "config.json")
    with open(path) as file:
        config = json.load(file)
    config.update(hidden_size=512, intermediate_size=1024, num_hidden_layers=4, num_attention_heads=8,
                  num_key_value_heads=2, head_dim=128, max_position_embeddings=8192)
    with open(path, "w") as file:
        json.dump(config, file)


def settings(device, folder, more):
    pairs = {"device": device, "output.dir": folder, "output.tensorboard": "false", **more}
    return [word for key, value in pairs.items() for word in ("--set", f"{key}={value}")]


def tiny(device, folder, **more):
    """20 steps in float32, checkpoints after 10 and 20."""
    return ["train", TINY] + settings(device, folder, {
        "train.steps": 20, "checkpoint.every": 10, "checkpoint.keep": 9, **more})


def fast(device, folder, shapes, length, **more):
    """bfloat16 with heads of 128; documents long enough for cuDNN."""
    return ["train", TINY] + settings(device, folder, {
        "model.path": shapes, "model.weights": "random", "model.dtype": "bfloat16", "train.steps": 4,
        "train.global_batch": 2, "data.max_tokens": 5 * length // 2, "data.label_mode": "all",
        "data.synthetic.lengths": f"[{length}]", "router.ssa.sink": 64, "router.ssa.local": 256,
        "router.ssa.block": 64, "checkpoint.every": 0, **more})


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


def begun_from(folder, copy):
    """A copy of a run that goes on from step 10."""
    shutil.copytree(folder, copy)
    os.remove(os.path.join(copy, "checkpoints", "step-00000020.h5"))


def took_the_fast_path(log):
    """What the program said at its start of who computes attention."""
    with open(log, errors="replace") as file:
        text = file.read()
    if "(sm_90" in text and "attention by sm_90a kernels" not in text:
        raise AssertionError("a GPU of sm_90 without the sm_90a kernels")
    if "full attention by cuDNN" not in text:
        raise AssertionError("full attention is not by cuDNN")
