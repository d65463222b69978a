#!/usr/bin/env python3
"""Reading prompts and decoding on the CPU: Elastron against transformers, in turns.

    python3 -m venv venv && venv/bin/pip install torch transformers
    launch/build.sh release && venv/bin/python bench/inference/run.py [--build build] [--json FILE]

The model has the shapes of Qwen3-0.6B and random weights in bfloat16 (about 1.2 GB, made once in --model),
so that both read the same folder. transformers runs eager with fused attention (sdpa) in each dtype of
--peer-dtypes, and its fastest counts, row by row; its prompts are read without logits but the last, and batches
are one tensor without padding. Elastron keeps weights in bfloat16 and draws which heads are sparse for a given
MSR. Each side is warmed up by a short prompt, has the same number of threads, and measures alone; the
median of the turns counts.

Time to first token is that of reading a prompt: its first token comes with it.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
SHAPE = dict(vocab_size=151936, hidden_size=1024, intermediate_size=3072, num_hidden_layers=28,
             num_attention_heads=16, num_key_value_heads=8, head_dim=128, max_position_embeddings=40960,
             rope_theta=1e6, tie_word_embeddings=True, rms_norm_eps=1e-6)
# tokens, texts, MSR, decoded tokens. The peer has no sparse heads: it runs with MSR 0 whatever stands here.
CASES = [(64, 1, 0, 4), (512, 1, 0, 32), (512, 8, 0, 16), (512, 16, 0, 16), (2048, 1, 0, 16), (4096, 1, 0, 8),
         (8192, 1, 0, 8), (8192, 1, 0.7, 8)]
MEMORY = (32768, 1, 0.7)  # of its cache only: no peer


def make_model(folder):
    if os.path.exists(folder + "/model.safetensors"):
        return
    import torch
    import transformers
    torch.manual_seed(0)
    config = transformers.Qwen3Config(**SHAPE)
    transformers.AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16).save_pretrained(folder)


# --- the peer: a process of its own, which waits while Elastron measures ---------------------------
def peer(folder, dtype, threads):
    """Reads a case a line from standard input, answers with a line of JSON."""
    import torch
    import transformers
    transformers.logging.set_verbosity_error()
    torch.set_num_threads(threads)
    model = transformers.AutoModelForCausalLM.from_pretrained(
        folder, dtype=getattr(torch, dtype), attn_implementation="sdpa").eval()

    @torch.inference_mode()
    def run(tokens, texts, steps):
        ids = torch.randint(0, SHAPE["vocab_size"], (texts, tokens))
        cache = transformers.DynamicCache(config=model.config)
        seconds = []
        for step in range(steps + 1):
            start = time.perf_counter()
            logits = model(ids, past_key_values=cache, logits_to_keep=1).logits
            ids = logits[:, -1:].argmax(-1)
            seconds.append(time.perf_counter() - start)
        return {"prompt_seconds": seconds[0] / texts,
                "step_seconds": statistics.median(seconds[1:]) if steps else 0}

    run(64, 1, 2)
    print("ready", flush=True)
    for line in sys.stdin:
        print(json.dumps(run(*json.loads(line))), flush=True)


class Peer:
    def __init__(self, folder, dtype, threads):
        self.process = subprocess.Popen(
            [sys.executable, "-W", "ignore", __file__, "--peer", dtype, "--model", folder, "--threads", str(threads)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        if self.process.stdout.readline() != "ready\n":
            sys.exit(f"error: transformers did not open {folder} in {dtype}")

    def run(self, tokens, texts, _, steps):
        self.process.stdin.write(json.dumps([tokens, texts, steps]) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())


def elastron(build, folder, threads, cases):
    with tempfile.NamedTemporaryFile(suffix=".json") as out:
        command = [f"{build}/bench/elastron_bench_inference", "--model", folder, "--json", out.name]
        for case in cases:
            command += ["--case", ":".join(map(str, case))]
        done = subprocess.run(command, capture_output=True, text=True,
                              env=dict(os.environ, OMP_NUM_THREADS=str(threads)))
        if done.returncode != 0:
            sys.exit(f"{' '.join(command)}\n{done.stderr}")
        return json.load(open(out.name))["cases"]


def median(rows, key):
    return statistics.median(row[key] for row in rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--build", default="build")
    parser.add_argument("--model", default=os.path.join(tempfile.gettempdir(), "elastron-bench-qwen3-0.6b"))
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--peer-dtypes", nargs="+", default=["bfloat16", "float32"])
    parser.add_argument("--longest", type=int, default=8192, help="leave out longer prompts")
    parser.add_argument("--json")
    parser.add_argument("--peer", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peer:
        return peer(options.model, options.peer, options.threads)

    make_model(options.model)
    cases = [case for case in CASES if case[0] <= options.longest]
    peers = {dtype: Peer(options.model, dtype, options.threads) for dtype in options.peer_dtypes}
    ours = [[] for _ in cases]
    theirs = [{dtype: [] for dtype in peers} for _ in cases]
    warm_up = (64, 1, 0, 4)
    for _ in range(options.turns):
        for i, case in enumerate(cases):
            # The first of a length takes memory from the system; as a server has it, the second counts.
            ours[i].append(elastron(options.build, options.model, options.threads, [warm_up, case, case])[-1])
            for dtype, peer_of in peers.items():
                if case[2] == 0:
                    theirs[i][dtype].append(peer_of.run(*case))

    rows = []
    for i, case in enumerate(cases):
        dense = theirs[next(j for j, c in enumerate(cases) if c[:2] == case[:2] and c[2] == 0)]
        row = {"tokens": case[0], "texts": case[1], "msr": case[2],
               "first_token_seconds": median(ours[i], "prompt_seconds"),
               "tokens_per_second": case[1] / median(ours[i], "step_seconds"),
               "share_of_bandwidth": statistics.median(
                   r["step_bytes"] / r["step_seconds"] / r["read_bytes_per_second"] for r in ours[i]),
               "peer_first_token_seconds": min(median(r, "prompt_seconds") for r in dense.values()),
               "peer_tokens_per_second": max(case[1] / median(r, "step_seconds") for r in dense.values())}
        rows.append(row)
    memory = elastron(options.build, options.model, options.threads, [MEMORY + (0,)])[0]
    share = memory["cache_bytes"] / memory["full_cache_bytes"]

    one = next(r["tokens_per_second"] for r in rows if r["tokens"] == 512 and r["texts"] == 1)
    print("| tokens x texts, MSR | first token, s | peer | ratio | tokens/s | peer | ratio | one text | bandwidth |")
    print("|---|---|---|---|---|---|---|---|---|")
    for r in rows:
        first, peer_first = r["first_token_seconds"], r["peer_first_token_seconds"]
        speed, peer_speed = r["tokens_per_second"], r["peer_tokens_per_second"]
        print(f"| {r['tokens']:,} x {r['texts']}, {r['msr']} | {first:.2f} | {peer_first:.2f} | {peer_first / first:.2f} "
              f"| {speed:.1f} | {peer_speed:.1f} | {speed / peer_speed:.2f} | {speed / one:.2f} | "
              f"{r['share_of_bandwidth']:.2f} |")
    print(f"cache at {MEMORY[0]:,} tokens and MSR {MEMORY[2]}: {share:.3f} of the full one")
    if options.json:
        with open(options.json, "w") as out:
            json.dump({"threads": options.threads, "rows": rows, "cache_share": share}, out, indent=2)


if __name__ == "__main__":
    main()
