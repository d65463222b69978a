#!/usr/bin/env python3
"""Reward-training pairs per second on the CPU: Elastron against the same step in PyTorch.

    python3 -m venv venv && venv/bin/pip install torch
    venv/bin/python bench/reward_training.py [--build build] [--json FILE]

The small backbone (configs/tiny/backbone, 0.63 M parameters) with a scalar head, Bradley-Terry, float32,
AdamW. What trains: the head over the frozen backbone, head and low-rank adapters of rank 16 at all seven
linear layers, or all weights. Pairs have a prompt and two responses of one length; --shares says how
much of a sequence the prompt is. No sequence is padded, which favours PyTorch.

PyTorch runs the step as published reward trainers do: chosen and rejected sequences in one batch, each
behind its own prompt, fused causal attention, one AdamW step. Elastron runs with the prompt computed once
for both responses (reward.share_prompts, its default) and with it computed twice. All start from the
same weights and see the same pairs in every step; their first losses must agree. They run in turns, each
with the same number of threads; the median step of all turns counts. Beside what sharing gains stands
what it saves of the forward pass's multiplications.
"""
import argparse
import json
import os
import shutil
import statistics
import struct
import subprocess
import sys
import tempfile
import time

import torch

from router_training import peak_gflops, torch_matmul_gflops

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")
sys.path.insert(0, os.path.join(ROOT, "tests", "oracle"))
from safetensors_file import write_safetensors  # noqa: E402

BACKBONE = os.path.join(ROOT, "configs", "tiny", "backbone")
PAIRS = {256: 16, 512: 8, 2048: 2}  # per step, by tokens of a sequence
MODES = {"head": "[reward_head]", "lora": "[reward_head, lora]", "whole": "[backbone]"}
RANK, ALPHA = 16, 32
RATE = 1e-4
functional = torch.nn.functional


# --- what both read -------------------------------------------------------------------------------
def read_safetensors(path):
    with open(path, "rb") as f:
        header = json.loads(f.read(struct.unpack("<Q", f.read(8))[0]))
        data = bytearray(f.read())
    header.pop("__metadata__", None)
    tensors = {}
    for name, entry in header.items():
        assert entry["dtype"] == "F32", (name, entry["dtype"])
        begin, end = entry["data_offsets"]
        tensors[name] = torch.frombuffer(data[begin:end], dtype=torch.float32).view(entry["shape"])
    return tensors


def make_model(folder):
    """The small backbone as a sequence classifier, with a random head. -> config, weights"""
    with open(f"{BACKBONE}/config.json") as f:
        config = json.load(f)
    weights = read_safetensors(f"{BACKBONE}/model.safetensors")
    config |= dict(architectures=["Qwen3ForSequenceClassification"], id2label={"0": "LABEL_0"},
                   label2id={"LABEL_0": 0}, pad_token_id=config["vocab_size"] - 1)
    rng = torch.Generator().manual_seed(3)
    hidden = config["hidden_size"]
    weights["score.weight"] = torch.randn(1, hidden, generator=rng) / (hidden + 1)
    os.makedirs(folder)
    shutil.copy(f"{BACKBONE}/tokenizer.json", folder)
    write_safetensors(f"{folder}/model.safetensors", weights)
    with open(f"{folder}/config.json", "w") as out:
        json.dump(config, out)
    return config, weights


def make_pairs(path, config, length, share, count):
    """Pairs of `length` ids a sequence, the end token last; -> ids [2 count, length], chosen first."""
    with open(f"{BACKBONE}/tokenizer.json") as f:
        words = {i: word for word, i in json.load(f)["model"]["vocab"].items()}
    rng = torch.Generator().manual_seed(5)
    prompt = round(share * length)
    draw = lambda n: torch.randint(2, len(words), (n,), generator=rng).tolist()
    chosen, rejected = [], []
    with open(path, "w") as out:
        for _ in range(count):
            head, one, other = draw(prompt), draw(length - prompt - 1), draw(length - prompt - 1)
            texts = (" ".join(words[i] for i in ids) for ids in (head, one, other))
            out.write(json.dumps(dict(zip(("prompt", "chosen", "rejected"), texts))) + "\n")
            chosen.append(head + one + [config["eos_token_id"]])
            rejected.append(head + other + [config["eos_token_id"]])
    return torch.tensor(chosen + rejected)


# --- PyTorch --------------------------------------------------------------------------------------
class TorchStep:
    def __init__(self, config, weights, length, mode):
        self.c, self.w, self.adapters = config, {n: t.clone() for n, t in weights.items()}, {}
        d = config["head_dim"]
        self.trained = [self.w["score.weight"]]
        if mode == "whole":
            self.trained = list(self.w.values())
        if mode == "lora":
            torch.manual_seed(1)
            for name, w in self.w.items():
                if name.endswith("_proj.weight"):
                    a = torch.nn.init.kaiming_uniform_(torch.empty(RANK, w.shape[1]), a=5 ** 0.5)
                    self.adapters[name] = (a, torch.zeros(w.shape[0], RANK))
                    self.trained += self.adapters[name]
        for t in self.trained:
            t.requires_grad_()
        self.adam = torch.optim.AdamW(self.trained, lr=RATE, betas=(0.9, 0.95), weight_decay=0.0)
        angle = torch.arange(length)[:, None] * config["rope_theta"] ** (-torch.arange(0, d, 2) / d)
        self.cos, self.sin = angle.cos(), angle.sin()

    def linear(self, x, name):
        y = functional.linear(x, self.w[name + ".weight"])
        if name + ".weight" in self.adapters:
            a, b = self.adapters[name + ".weight"]
            y = y + functional.linear(functional.linear(x, a), b) * (ALPHA / RANK)
        return y

    def norm(self, x, name):
        return functional.rms_norm(x, x.shape[-1:], self.w[name + ".weight"], self.c["rms_norm_eps"])

    def rope(self, x):
        a, b = x.chunk(2, -1)
        return torch.cat([a * self.cos - b * self.sin, b * self.cos + a * self.sin], -1)

    def scores(self, ids):
        c = self.c
        hq, hk, d = c["num_attention_heads"], c["num_key_value_heads"], c["head_dim"]
        batch, length = ids.shape
        x = functional.embedding(ids, self.w["model.embed_tokens.weight"])
        for i in range(c["num_hidden_layers"]):
            p = f"model.layers.{i}."
            n1 = self.norm(x, p + "input_layernorm")
            heads = lambda name, n: self.linear(n1, p + "self_attn." + name).view(batch, length, n, d)
            q = self.norm(heads("q_proj", hq), p + "self_attn.q_norm").transpose(1, 2)
            k = self.norm(heads("k_proj", hk), p + "self_attn.k_norm").transpose(1, 2)
            v = heads("v_proj", hk).transpose(1, 2)
            q, k = self.rope(q), self.rope(k)
            k, v = (t.repeat_interleave(hq // hk, 1) for t in (k, v))
            out = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
            x = x + self.linear(out.transpose(1, 2).reshape(batch, length, hq * d),
                                p + "self_attn.o_proj")
            n2 = self.norm(x, p + "post_attention_layernorm")
            h = functional.silu(self.linear(n2, p + "mlp.gate_proj")) * self.linear(n2, p + "mlp.up_proj")
            x = x + self.linear(h, p + "mlp.down_proj")
        return functional.linear(self.norm(x[:, -1], "model.norm"), self.w["score.weight"])[:, 0]

    def run(self, ids):
        chosen, rejected = self.scores(ids).chunk(2)
        loss = -functional.logsigmoid(chosen - rejected).mean()
        self.adam.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.trained, 1.0)
        self.adam.step()
        return loss.item()


def torch_turn(step, ids, steps, threads):
    """-> seconds of each step, the loss of the first."""
    torch.set_num_threads(threads)
    seconds, losses = [], []
    for _ in range(steps + 1):
        start = time.perf_counter()
        losses.append(step.run(ids))
        seconds.append(time.perf_counter() - start)
    return seconds[1:], losses[0]


# --- Elastron -------------------------------------------------------------------------------------
def elastron_turn(build, folder, pairs, length, mode, shared, steps, threads):
    """-> pairs per second of each step, the loss of the first."""
    run = f"{folder}/run-{time.monotonic_ns()}"
    settings = {"model.path": f"{folder}/model", "data.train": f"[{folder}/pairs.jsonl]",
                "data.max_tokens": length, "train.trainable": MODES[mode], "train.steps": steps + 2,
                "train.global_batch": pairs, "train.micro_batch": pairs, "train.lora.rank": RANK,
                "train.lora.alpha": ALPHA, "train.lr.head": RATE, "train.lr.lora": RATE,
                "train.lr.backbone": RATE, "reward.share_prompts": str(shared).lower(),
                "output.dir": run}
    command = [f"{build}/elastron", "train", os.path.join(ROOT, "bench", "reward_training.yaml")]
    for key, value in settings.items():
        command += ["--set", f"{key}={value}"]
    done = subprocess.run(command, capture_output=True, text=True,
                          env=dict(os.environ, OMP_NUM_THREADS=str(threads)))
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}\n{done.stderr}")
    with open(run + "/metrics.jsonl") as lines:
        metrics = [json.loads(line) for line in lines]
    return [m["pairs_per_second"] for m in metrics[2:]], metrics[0]["loss"]


def arithmetic_of_sharing(config, length, share):
    """Multiplications of a pair's forward pass with its prompt computed twice, over those with once."""
    c, prompt = config, round(share * length)
    q, k = (c[n] * c["head_dim"] for n in ("num_attention_heads", "num_key_value_heads"))
    token = c["hidden_size"] * (2 * q + 2 * k + 3 * c["intermediate_size"])
    attention = lambda begin, end: q * (end * (end + 1) - begin * (begin + 1))  # of those positions
    apart = 2 * (length * token + attention(0, length))
    saved = prompt * token + attention(0, prompt)
    return apart / (apart - saved)


def measure(a, folder, config, weights, length, share, mode):
    pairs = PAIRS[length]
    ids = make_pairs(f"{folder}/pairs.jsonl", config, length, share, pairs)
    rates, losses = {"shared": [], "apart": [], "torch": []}, {}
    step = TorchStep(config, weights, length, mode)
    for _ in range(a.turns):
        for name in ("shared", "apart"):
            rate, loss = elastron_turn(a.build, folder, pairs, length, mode, name == "shared", a.steps,
                                       a.threads)
            rates[name] += rate
            losses.setdefault(name, loss)
        seconds, loss = torch_turn(step, ids, a.steps, a.threads)
        rates["torch"] += [pairs / s for s in seconds]
        losses.setdefault("torch", loss)
    if max(losses.values()) - min(losses.values()) > 1e-4:
        sys.exit(f"error: the first losses differ, so the steps are not the same: {losses}")
    rate = {name: statistics.median(r) for name, r in rates.items()}
    row = {"tokens": length, "prompt_share": share, "pairs": pairs, "trainable": MODES[mode],
           "pairs_per_second": rate, "loss": losses, "ratio": rate["shared"] / rate["torch"],
           "ratio_apart": rate["apart"] / rate["torch"], "sharing": rate["shared"] / rate["apart"],
           "sharing_saves": arithmetic_of_sharing(config, length, share)}
    print(f"{mode:<5} {length} tokens, prompt {100 * share:.0f} %, {pairs} pairs: "
          f"shared {rate['shared']:.2f}, apart {rate['apart']:.2f}, PyTorch {rate['torch']:.2f} pairs/s; "
          f"{row['ratio']:.2f} x PyTorch ({row['ratio_apart']:.2f} x apart), "
          f"sharing {row['sharing']:.2f} x, saves {row['sharing_saves']:.2f} x; "
          f"first losses {losses['shared']:.6f} / {losses['torch']:.6f}", flush=True)
    return row


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--build", default=os.path.join(ROOT, "build"))
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--turns", type=int, default=4)
    parser.add_argument("--steps", type=int, default=8, help="timed steps per turn")
    parser.add_argument("--lengths", type=int, nargs="+", default=list(PAIRS), choices=list(PAIRS))
    parser.add_argument("--shares", type=float, nargs="+", default=[0.5, 0.8])
    parser.add_argument("--modes", nargs="+", default=list(MODES), choices=list(MODES))
    parser.add_argument("--json")
    a = parser.parse_args()
    matmul, peak = torch_matmul_gflops(a.threads), peak_gflops(a.build, a.threads)
    print(f"PyTorch {torch.__version__}, {a.threads} threads; its matrix product: {matmul:.0f} GFLOP/s of "
          f"{peak:.0f}")
    if matmul < 0.4 * peak:
        sys.exit("error: this PyTorch has a slow BLAS: install the one of PyPI")
    with tempfile.TemporaryDirectory() as folder:
        config, weights = make_model(folder + "/model")
        rows = [measure(a, folder, config, weights, length, share, mode)
                for length in a.lengths for share in a.shares for mode in a.modes]
    if a.json:
        with open(a.json, "w") as out:
            json.dump({"torch": torch.__version__, "threads": a.threads, "torch_matmul_gflops": matmul,
                       "peak_gflops": peak, "measurements": rows}, out, indent=2)


if __name__ == "__main__":
    main()
