#!/usr/bin/env python3
"""The planner's tables of docs/parallelism.md, written into it between its two markers.

    docs/parallelism_tables.py [--program build/elastron] [--device h200] [--ranks 8]

Calls `elastron plan` for the three configurations of configs/ at three lengths. Only shapes are
needed: the models' config.json are written here, from their published values.
"""
import argparse
import json
import os
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
DOCUMENT = os.path.join(HERE, "parallelism.md")
BEGIN = "<!-- tables: docs/parallelism_tables.py -->"
END = "<!-- end of tables -->"

COMMON = {
    "attention_bias": False, "bos_token_id": None, "eos_token_id": 1, "head_dim": 128,
    "hidden_act": "silu", "num_attention_heads": 32, "num_key_value_heads": 8,
    "torch_dtype": "bfloat16",
}
QWEN = COMMON | {
    "architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "num_hidden_layers": 36,
    "vocab_size": 151936, "rms_norm_eps": 1e-6, "rope_theta": 1e6,
    "max_position_embeddings": 40960,
}
LLAMA3_ROPE = {
    "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}
MODELS = {
    "Qwen3-4B": ("qwen3-4b", QWEN | {
        "hidden_size": 2560, "intermediate_size": 9728, "tie_word_embeddings": True}),
    "Qwen3-8B": ("qwen3-8b", QWEN | {
        "hidden_size": 4096, "intermediate_size": 12288, "tie_word_embeddings": False}),
    "Llama-3.1-8B": ("llama3.1-8b", COMMON | {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "num_hidden_layers": 32,
        "hidden_size": 4096, "intermediate_size": 14336, "vocab_size": 128256,
        "rms_norm_eps": 1e-5, "rope_theta": 5e5, "rope_scaling": LLAMA3_ROPE,
        "max_position_embeddings": 131072, "tie_word_embeddings": False}),
}
LENGTHS = [8192, 65536, 262144]


def plan(program, config, shapes, tokens, device, ranks, recompute="none"):
    """What `plan` says of all layouts, and of `recompute` with data parallelism alone ("own")."""
    with tempfile.TemporaryDirectory() as folder:
        with open(os.path.join(folder, "config.json"), "w") as out:
            json.dump(shapes, out)
        result = os.path.join(folder, "plan.json")
        subprocess.run(
            [program, "plan", os.path.join(HERE, "..", "configs", config + ".yaml"),
             "--device", device, "--ranks", str(ranks), "--json", result,
             "--set", "model.path=" + folder, "--set", f"data.max_tokens={tokens}",
             "--set", "parallel.context=1", "--set", "train.recompute=" + recompute],
            check=True, stdout=subprocess.DEVNULL)
        with open(result) as text:
            return json.load(text)


def shown(layouts):
    """The three fastest, then the fastest of each other way to use the ranks."""
    rows = layouts[:3]
    for way in (lambda l: l["data"] == ranks_of(l),
                lambda l: l["context_kind"] == "ulysses" and l["context"] > 1,
                lambda l: l["context"] == ranks_of(l) and l["context_kind"] == "gather",
                lambda l: l["tensor"] > 1,
                lambda l: l["tensor"] == ranks_of(l)):
        rows += [l for l in layouts if way(l) and l not in rows][:1]
    return [l for l in layouts if l in rows]


def ranks_of(layout):
    return layout["data"] * layout["context"] * layout["tensor"]


def row(layout):
    kind = layout["context_kind"] if layout["context"] > 1 else "-"
    return "| {} x {} x {} | {} | {} | {:.1f} | {:.2f} | {:,.0f} | {} |".format(
        layout["data"], layout["context"], layout["tensor"], kind, layout["recompute"],
        gib(layout), layout["step_seconds"], layout["tokens_per_second"],
        layout["limit"] if layout["fits"] else "does not fit")


def gib(layout):
    return layout["memory_bytes"]["total"] / 2**30


def whole_packs(planned):
    """What data parallelism alone takes, by train.recompute."""
    return ", ".join("{} {:.1f} GiB{}".format(mode, gib(p["own"]),
                                              "" if p["own"]["fits"] else " (does not fit)")
                     for mode, p in planned.items())


def tables(program, device, ranks):
    out = []
    for model, (config, shapes) in MODELS.items():
        for tokens in LENGTHS:
            planned = {mode: plan(program, config, shapes, tokens, device, ranks, mode)
                       for mode in ("none", "selective", "layer")}
            layouts = planned["none"]["layouts"]
            fit = sum(l["fits"] for l in layouts)
            out += ["", f"#### {model}, packs of {tokens // 1024}K tokens", "",
                    f"{fit} of {len(layouts)} layouts fit. Whole packs on each rank "
                    f"({ranks} x 1 x 1) take: {whole_packs(planned)}.", "",
                    "| data x context x tensor | context by | recompute | GiB per rank | "
                    "step, s | tokens/s | longest part |",
                    "|---|---|---|--:|--:|--:|---|"]
            out += [row(l) for l in shown(layouts)]
    return "\n".join(out[1:]) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", default=os.path.join(HERE, "..", "build", "elastron"))
    parser.add_argument("--device", default="h200")
    parser.add_argument("--ranks", type=int, default=8)
    options = parser.parse_args()
    with open(DOCUMENT) as text:
        document = text.read()
    if document.count(BEGIN) != 1 or document.count(END) != 1:
        sys.exit(f"error: {DOCUMENT} has no place for the tables")
    before, rest = document.split(BEGIN)
    after = rest.split(END)[1]
    body = tables(options.program, options.device, options.ranks)
    with open(DOCUMENT, "w") as out:
        out.write(f"{before}{BEGIN}\n{body}{END}{after}")


if __name__ == "__main__":
    main()
