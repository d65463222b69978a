#!/usr/bin/env python3
"""Router-training tokens per second on the CPU: Elastron against the same step in PyTorch.

    python3 -m venv venv && venv/bin/pip install torch        # 2.15 or later
    venv/bin/python bench/router_training.py [--build build] [--dtype float32] [--json FILE] [--against BUILD]

A model of 3.4 M parameters (4 layers, hidden 256, 8/4 heads of 32, FFN 768, vocabulary 1,024) with
random weights, frozen; documents of exactly 512, 2,048 or 8,192 tokens; sink 128, local 512; loss on every
token. Both programs load the same weights and data and run in turns, each with the same number of
threads; the median step of all turns counts. PyTorch runs the step as the method's reference code
does: full and sparse attention of every head, blended by the hard gate, backward through both; with its fused
attention (scaled_dot_product_attention: causal for full heads, a boolean mask for sparse ones, grouped
heads) and its fused norms, eager and by torch.compile, the faster of which counts. --dtype bfloat16: weights and
activations on both sides, routers in float32. ONEDNN_MAX_CPU_ISA=AVX2 with ATEN_CPU_CAPABILITY=avx2, and a build
with -DELASTRON_NATIVE=OFF, is how a machine without AVX-512 fares.

Also: two data-parallel ranks against one, one thread each, and the share of the floor: the step's
arithmetic (FLOOR_FLOPS, exponentials included; of the lengths it is known for, in float32) at the FMA peak that elastron_bench_cpu_peak's probe
finds between the turns.

--against: that build of another version in turns with --build, nothing else.
"""
import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time

import torch
import torch.nn.functional as functional

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")
sys.path.insert(0, os.path.join(ROOT, "tests", "oracle"))
from safetensors_file import write_safetensors  # noqa: E402

CONFIG = dict(
    architectures=["Qwen3ForCausalLM"], model_type="qwen3", hidden_size=256, intermediate_size=768,
    num_hidden_layers=4, num_attention_heads=8, num_key_value_heads=4, head_dim=32, vocab_size=1024,
    rms_norm_eps=1e-6, rope_theta=1e6, tie_word_embeddings=True, max_position_embeddings=8192,
    attention_bias=False, hidden_act="silu", torch_dtype="float32", bos_token_id=1, eos_token_id=1,
    initializer_range=0.02, rope_scaling=None, use_sliding_window=False)
SINK, LOCAL, BLOCK, POOL, MULT = 128, 512, 64, 100, 4
BATCH = {512: 8, 2048: 2, 8192: 1}
FLOOR_FLOPS = {512: 17.96e6, 2048: 27.03e6}  # per token


# --- what both read -------------------------------------------------------------------------------
def make_model(folder):
    rng = torch.Generator().manual_seed(3)
    c = CONFIG
    h, f, d = c["hidden_size"], c["intermediate_size"], c["head_dim"]
    q, k = c["num_attention_heads"] * d, c["num_key_value_heads"] * d

    def normal(*shape):
        return torch.randn(*shape, generator=rng) * 0.05

    w = {"model.embed_tokens.weight": normal(c["vocab_size"], h), "model.norm.weight": torch.ones(h)}
    for i in range(c["num_hidden_layers"]):
        p = f"model.layers.{i}."
        for name, shape in {"self_attn.q_proj": (q, h), "self_attn.k_proj": (k, h),
                            "self_attn.v_proj": (k, h), "self_attn.o_proj": (h, q),
                            "mlp.gate_proj": (f, h), "mlp.up_proj": (f, h),
                            "mlp.down_proj": (h, f)}.items():
            w[p + name + ".weight"] = normal(*shape)
        for name, n in {"input_layernorm": h, "post_attention_layernorm": h, "self_attn.q_norm": d,
                        "self_attn.k_norm": d}.items():
            w[p + name + ".weight"] = torch.ones(n)
    os.makedirs(folder)
    write_safetensors(folder + "/model.safetensors", w)
    words = ["<unk>", "<eos>"] + [f"w{i}" for i in range(2, c["vocab_size"])]
    tokenizer = {
        "version": "1.0", "truncation": None, "padding": None, "normalizer": None,
        "added_tokens": [dict(id=i, content=words[i], single_word=False, lstrip=False, rstrip=False,
                              normalized=False, special=True) for i in range(2)],
        "pre_tokenizer": {"type": "WhitespaceSplit"}, "post_processor": None, "decoder": None,
        "model": {"type": "WordLevel", "vocab": {x: i for i, x in enumerate(words)},
                  "unk_token": "<unk>"}}
    for name, value in {"config.json": c, "tokenizer.json": tokenizer}.items():
        with open(f"{folder}/{name}", "w") as out:
            json.dump(value, out)
    return w


def make_data(path, length, count):
    """Records of `length` ids with the end token; -> the ids."""
    rng = torch.Generator().manual_seed(5)
    documents = []
    with open(path, "w") as out:
        for _ in range(count):
            ids = torch.randint(2, CONFIG["vocab_size"], (length - 1,), generator=rng).tolist()
            words = [f"w{i}" for i in ids]
            out.write(json.dumps({"context": " ".join(words[:-9]), "question": " ".join(words[-9:-1]),
                                  "answer": words[-1], "metadata": {"task": "Single QA"}}) + "\n")
            documents.append(ids + [1])
    return torch.tensor(documents)


# --- PyTorch --------------------------------------------------------------------------------------
class TorchStep:
    def __init__(self, weights, length, dtype):
        self.w, c = {name: t.to(dtype) for name, t in weights.items()}, CONFIG
        self.length = length
        d, m = c["head_dim"], MULT * c["head_dim"]
        torch.manual_seed(1)
        linear, silu = torch.nn.Linear, torch.nn.SiLU
        self.task = [torch.nn.Sequential(linear(d, m), silu(), linear(m, d))
                     for _ in range(c["num_hidden_layers"])]
        self.router = [torch.nn.Sequential(linear(d, m), silu(), linear(m, d), silu(), linear(d, 2))
                       for _ in range(c["num_hidden_layers"])]
        self.lambdas = torch.zeros(2, requires_grad=True)
        parameters = [p for x in self.task + self.router for p in x.parameters()]
        self.trained = parameters + [self.lambdas]
        self.adam = torch.optim.AdamW([{"params": parameters}, {"params": [self.lambdas]}], lr=5e-4)
        i, j = torch.arange(length)[:, None], torch.arange(length)[None]
        window = torch.div(i, BLOCK, rounding_mode="floor") - torch.div(j, BLOCK, rounding_mode="floor")
        self.sparse = (j <= i) & ((j < SINK) | (window < LOCAL // BLOCK))
        angle = torch.arange(length)[:, None] * c["rope_theta"] ** (-torch.arange(0, d, 2) / d)
        self.cos, self.sin = (t[:, None].to(dtype) for t in (angle.cos(), angle.sin()))
        self.compiled = None

    @staticmethod
    def rms(x, weight):
        return functional.rms_norm(x, weight.shape, weight, 1e-6)

    def rope(self, x):
        a, b = x.chunk(2, -1)
        return torch.cat([a * self.cos - b * self.sin, b * self.cos + a * self.sin], -1)

    def losses(self, ids, tau=1.0):
        c = CONFIG
        hq, hk, d = c["num_attention_heads"], c["num_key_value_heads"], c["head_dim"]
        batch, length = ids.shape
        x = functional.embedding(ids, self.w["model.embed_tokens.weight"])
        gates = []
        for i in range(c["num_hidden_layers"]):
            w = lambda n: self.w[f"model.layers.{i}.{n}.weight"]
            n1 = self.rms(x, w("input_layernorm"))
            q = self.rms((n1 @ w("self_attn.q_proj").T).view(batch, length, hq, d), w("self_attn.q_norm"))
            k = self.rms((n1 @ w("self_attn.k_proj").T).view(batch, length, hk, d), w("self_attn.k_norm"))
            v = (n1 @ w("self_attn.v_proj").T).view(batch, length, hk, d)
            pooled = torch.cat([k[:, :POOL], k[:, length - 2 - POOL: length - 2]], 1).float().mean(1)
            logits = self.router[i](self.task[i](pooled))
            noise = -torch.log(-torch.log(torch.rand_like(logits) + 1e-8) + 1e-8)
            p = torch.softmax((logits + noise) / tau, -1)[..., 1]
            z = (p > 0.5).float() + p - p.detach()  # [batch, hk]
            gates.append(z)
            q, k = self.rope(q).transpose(1, 2), self.rope(k).transpose(1, 2)
            v = v.transpose(1, 2)
            attention = functional.scaled_dot_product_attention
            full = attention(q, k, v, is_causal=True, enable_gqa=True)
            sparse = attention(q, k, v, attn_mask=self.sparse, enable_gqa=True)
            zq = z.repeat_interleave(hq // hk, 1)[:, :, None, None].to(full.dtype)
            out = (zq * full + (1 - zq) * sparse).transpose(1, 2).reshape(batch, length, hq * d)
            x = x + out @ w("self_attn.o_proj").T
            n2 = self.rms(x, w("post_attention_layernorm"))
            h = functional.silu(n2 @ w("mlp.gate_proj").T) * (n2 @ w("mlp.up_proj").T)
            x = x + h @ w("mlp.down_proj").T
        logits = self.rms(x, self.w["model.norm.weight"]) @ self.w["model.embed_tokens.weight"].T
        lm = functional.cross_entropy(logits[:, :-1].flatten(0, 1).float(), ids[:, 1:].flatten())
        gap = 1 - torch.stack(gates).mean((0, 2)) - 0.7
        return lm, lm + (self.lambdas[0] * gap.abs() + self.lambdas[1] * gap ** 2).mean()

    def run(self, ids, compiled):
        if compiled and self.compiled is None:
            self.compiled = torch.compile(self.losses, dynamic=False)
        lm, loss = (self.compiled if compiled else self.losses)(ids)
        self.adam.zero_grad()
        loss.backward()
        self.lambdas.grad.neg_()
        torch.nn.utils.clip_grad_norm_(self.trained, 5.0)
        self.adam.step()
        return lm.item()


def torch_turn(step, documents, batch, steps, threads, compiled):
    torch.set_num_threads(threads)
    seconds, losses = [], []
    for s in range(steps + 1):
        at = s * batch % len(documents)
        start = time.perf_counter()
        losses.append(step.run(documents[at: at + batch], compiled))
        seconds.append(time.perf_counter() - start)
    return seconds[1:], losses[0]


# --- Elastron -------------------------------------------------------------------------------------
def elastron_turn(build, folder, length, batch, steps, threads, ranks=1, dtype="float32"):
    run = f"{folder}/run-{time.monotonic_ns()}"
    command = [f"{build}/elastron", "train", os.path.join(ROOT, "bench", "router_training.yaml")]
    settings = {"model.path": f"{folder}/model", "data.train": f"[{folder}/{length}.jsonl]",
                "data.max_tokens": length, "train.steps": steps + 2, "output.dir": run,
                "train.global_batch": batch, "train.micro_batch": batch // ranks, "model.dtype": dtype}
    for key, value in settings.items():
        command += ["--set", f"{key}={value}"]
    if ranks > 1:
        command = ["mpirun", "--allow-run-as-root", "--bind-to", "none", "-np", str(ranks)] + command
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                   env=dict(os.environ, OMP_NUM_THREADS=str(threads)))
    with open(run + "/metrics.jsonl") as lines:
        metrics = [json.loads(line) for line in lines]
    assert all(m["tokens"] == batch * length for m in metrics), metrics[0]
    return [m["step_seconds"] for m in metrics[2:]], metrics[0]["lm_loss"]


def peak_gflops(build, threads):
    out = subprocess.run([f"{build}/bench/elastron_bench_cpu_peak", "--threads", str(threads), "--peak"],
                         check=True, capture_output=True, text=True,
                         env=dict(os.environ, OMP_NUM_THREADS=str(threads))).stdout
    return float(out.split()[0])


def torch_matmul_gflops(threads):
    torch.set_num_threads(threads)
    a, b = torch.randn(4096, 256), torch.randn(768, 256)
    best = math.inf
    for _ in range(10):
        start = time.perf_counter()
        a @ b.T
        best = min(best, time.perf_counter() - start)
    return 2e-9 * 4096 * 256 * 768 / best


def compare(folder, builds, turns):
    """Prints, for each length on one and two threads, tokens/s of both builds."""
    make_model(folder + "/model")
    for length, batch in BATCH.items():
        make_data(f"{folder}/{length}.jsonl", length, 16)
        for threads in (1, 2):
            seconds, losses = {b: [] for b in builds}, {}
            for turn in range(turns):
                for build in builds if turn % 2 else builds[::-1]:
                    more, losses[build] = elastron_turn(build, folder, length, batch, 10, threads)
                    seconds[build] += more
            rate = [batch * length / statistics.median(seconds[b]) for b in builds]
            print(f"{length} tokens x {batch}, {threads} threads: {rate[0]:.0f} tok/s against {rate[1]:.0f}: "
                  f"{rate[0] / rate[1]:.2f} x; loss {losses[builds[0]]:.6f} / {losses[builds[1]]:.6f}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--build", default=os.path.join(ROOT, "build"))
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--turns", type=int, default=4)
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--lengths", type=int, nargs="+", choices=BATCH, default=list(BATCH))
    parser.add_argument("--json")
    parser.add_argument("--against")
    a = parser.parse_args()
    if a.against:
        with tempfile.TemporaryDirectory() as folder:
            return compare(folder, [a.build, a.against], a.turns)
    matmul, peak = torch_matmul_gflops(a.threads), peak_gflops(a.build, a.threads)
    print(f"PyTorch's matrix product: {matmul:.0f} GFLOP/s of {peak:.0f}")
    if matmul < 0.4 * peak:
        sys.exit("error: PyTorch has a slow BLAS: install it from PyPI")
    results = {"torch_matmul_gflops": matmul, "threads": a.threads, "torch": torch.__version__, "dtype": a.dtype,
               "lengths": []}
    with tempfile.TemporaryDirectory() as folder:
        weights = make_model(folder + "/model")
        for length in a.lengths:
            batch = BATCH[length]
            documents = make_data(f"{folder}/{length}.jsonl", length, 16)
            step = TorchStep(weights, length, getattr(torch, a.dtype))
            step.run(documents[:batch], True)  # compiles
            seconds = {"elastron": [], "eager": [], "compiled": [], "one": [], "two": []}
            peaks, losses = [], []
            for _ in range(a.turns):
                peaks.append(peak_gflops(a.build, a.threads))
                s, loss = elastron_turn(a.build, folder, length, batch, 10, a.threads, dtype=a.dtype)
                seconds["elastron"] += s
                for how in ("eager", "compiled"):
                    t, torch_loss = torch_turn(step, documents, batch, 3, a.threads, how == "compiled")
                    seconds[how] += t
                losses = losses or [loss, torch_loss]
                if batch > 1:
                    seconds["one"] += elastron_turn(a.build, folder, length, batch, 8, 1, dtype=a.dtype)[0]
                    seconds["two"] += elastron_turn(a.build, folder, length, batch, 8, 1, ranks=2, dtype=a.dtype)[0]
            rate = {name: batch * length / statistics.median(s) for name, s in seconds.items() if s}
            peer = max(rate["eager"], rate["compiled"])
            row = {"tokens": length, "batch": batch, "tokens_per_second": rate, "ratio": rate["elastron"] / peer,
                   "peak_gflops": max(peaks), "lm_loss": losses}
            line = (f"{length} tokens x {batch}, {a.threads} threads: elastron {rate['elastron']:.0f} tok/s, PyTorch "
                    f"{torch.__version__} {rate['eager']:.0f} eager, {rate['compiled']:.0f} compiled: "
                    f"{row['ratio']:.2f} x; loss {losses[0]:.3f} / {losses[1]:.3f}")
            if length in FLOOR_FLOPS and a.dtype == "float32":
                row["floor_share"] = rate["elastron"] * FLOOR_FLOPS[length] / (max(peaks) * 1e9)
                line += f"; {100 * row['floor_share']:.0f} % of the floor at {max(peaks):.0f} GFLOP/s"
            if "two" in rate:
                row["two_rank_ratio"] = rate["two"] / rate["one"]
                line += f"; 2 ranks {row['two_rank_ratio']:.2f} x one of one thread"
            results["lengths"].append(row)
            print(line, flush=True)
    if a.json:
        with open(a.json, "w") as out:
            json.dump(results, out, indent=2)


if __name__ == "__main__":
    main()
