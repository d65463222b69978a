#!/usr/bin/env python3
"""Every key that the transformers library knows in a config.json of the families that are read.

    venv/bin/python tests/oracle/make_config_keys.py     (transformers; once with 4.x and once with 5.x)

Adds to tests/fixtures/config_keys.json: by the library's version and model_type the keys that its configuration class
takes or writes, base class included. tests/model/model_config_test.cpp wants each to be read, refused, or known
to say nothing about what is computed.
"""
import inspect
import json
import os

import transformers
from transformers import (LlamaConfig, MistralConfig, PretrainedConfig, Qwen2Config, Qwen3Config, Qwen3MoeConfig)

OUT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "fixtures", "config_keys.json")


def taken(cls):
    """Of the constructors and of the declared fields, along the bases."""
    names = set()
    for base in cls.__mro__:
        if not issubclass(base, PretrainedConfig):
            continue
        names |= set(inspect.signature(base.__init__).parameters) | set(vars(base).get("__annotations__", {}))
    return names - {"self", "args", "kwargs"}


def keys(cls):
    config = cls()
    names = taken(cls) | set(config.to_dict()) | {n.lstrip("_") if n.startswith("__") else n for n in vars(config)}
    # What the class says of itself, and what no file holds.
    own = {n for n in names if n.startswith("_") and n not in config.to_dict()}
    of_class = {n for n in names if inspect.isroutine(getattr(cls, n, None)) or n in (
        "base_config_key", "base_model_tp_plan", "base_model_pp_plan", "base_model_ep_plan", "sub_configs",
        "has_no_defaults_at_init", "keys_to_ignore_at_inference", "attribute_map", "is_composition",
        "base_model_fsdp_plan", "sub_configs_defaults", "extra_files", "extra_config_files", "default_theta",
        "ignore_keys_at_rope_validation")}
    return sorted(names - own - of_class)


def main():
    classes = (LlamaConfig, MistralConfig, Qwen2Config, Qwen3Config, Qwen3MoeConfig)
    known = {}
    if os.path.exists(OUT):
        with open(OUT) as file:
            known = json.load(file)
    known[transformers.__version__] = {c.model_type: keys(c) for c in classes}
    with open(OUT, "w") as out:
        json.dump(known, out, indent=0, sort_keys=True)
        out.write("\n")


main()
