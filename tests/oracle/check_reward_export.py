#!/usr/bin/env python3
"""Reward models of Elastron, scored by the transformers and peft libraries.

    venv/bin/python tests/oracle/check_reward_export.py build/elastron SCRATCH

For each random model of compare_reward.py (whose requirements this has): a ...ForSequenceClassification
folder is scored as it is; a causal LM gets a head and adapters in a few steps of training, then the
checkpoint's scores must be those of the library for the exported folder and for the exported adapter
over the causal LM; the same with all weights trained; and SimPO's likelihoods. In float32, the folders
in bfloat16 too. Ends with 1 where one comparison fails.
"""
import json
import os
import random
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
EOS = 1
TRAIN = ["--set", "data.format=jsonl", "--set", "train.objective=reward", "--set", "train.steps=3",
         "--set", "train.global_batch=2", "--set", "train.warmup_ratio=0", "--set", "data.max_tokens=4096",
         "--set", "train.lr.head=0.01", "--set", "train.lr.lora=0.01", "--set", "train.lr.backbone=0.003",
         "--set", "train.lora.rank=4", "--set", "train.lora.alpha=6", "--set", "checkpoint.every=0"]


def run(*command):
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}\n{done.stdout}{done.stderr}")
    return done.stdout


class Check:
    def __init__(self, program, scratch):
        self.program, self.scratch, self.failed = program, scratch, False
        self.venv = sys.executable
        run(self.venv, f"{HERE}/compare_reward.py", "make", f"{scratch}/models")
        words = json.load(open(f"{HERE}/../../configs/tiny/backbone/tokenizer.json"))["model"]["vocab"]
        self.words = {w: i for w, i in words.items() if i > EOS}
        self.make_rows()

    def make_rows(self):
        rng = random.Random(3)
        pick = lambda n: " ".join(rng.choices(sorted(self.words), k=n))
        self.sequences, self.prompts = [], []
        with open(f"{self.scratch}/rows.jsonl", "w") as out:
            for prompt, chosen, rejected in ((5, 3, 4), (60, 7, 70), (300, 40, 20), (900, 200, 300)):
                row = {"prompt": pick(prompt), "chosen": pick(chosen), "rejected": pick(rejected)}
                out.write(json.dumps(row) + "\n")
                for side in ("chosen", "rejected"):
                    text = (row["prompt"] + " " + row[side]).split()
                    self.sequences.append([self.words[w] for w in text] + [EOS])
                    self.prompts.append(prompt)
        for name in ("sequences", "prompts"):
            json.dump(getattr(self, name), open(f"{self.scratch}/{name}.json", "w"))

    def scores(self, name, model, *more):
        """Of the sequences, by eval-reward, as a file."""
        config, out = f"{self.scratch}/{name}.yaml", f"{self.scratch}/report-{name}"
        with open(config, "w") as f:
            f.write("data: {chat_template: none}\neval: {micro_batch: 2}\n")
        run(self.program, "eval-reward", config, "--data", f"{self.scratch}/rows.jsonl", "--out", out,
            "--no-untrained", "--set", f"model.path={model}", *more)
        scores = []
        for line in open(f"{out}/rows.jsonl"):
            row = json.loads(line)
            scores += [row["score_chosen"], row["score_rejected"]]
        path = f"{self.scratch}/{name}.json"
        json.dump(scores, open(path, "w"))
        return path

    def compare(self, title, *arguments):
        done = subprocess.run([self.venv, f"{HERE}/compare_reward.py", "scores", "--tokens",
                               f"{self.scratch}/sequences.json", *arguments], capture_output=True, text=True)
        print(f"== {title}: {'ok' if done.returncode == 0 else 'FAILED'}\n{done.stdout}{done.stderr}", flush=True)
        self.failed |= done.returncode != 0

    def trained(self, name, model, *more):
        config, out = f"{self.scratch}/{name}-train.yaml", f"{self.scratch}/run-{name}"
        with open(config, "w") as f:
            f.write("data: {chat_template: none}\n")
        run(self.program, "train", config, "--resume", "none", *TRAIN, "--set", f"model.path={model}",
            "--set", f"data.train=[{self.scratch}/rows.jsonl]", "--set", f"output.dir={out}", *more)
        return out

    def case(self, name):
        models = f"{self.scratch}/models/{name}"
        self.compare(f"{name}, a classifier", "--model", f"{models}/classifier",
                     "--float32", self.scores(f"{name}-f32", f"{models}/classifier"),
                     "--bfloat16", self.scores(f"{name}-bf16", f"{models}/classifier",
                                               "--set", "model.dtype=bfloat16"))
        for kind, parts in (("adapters", "[reward_head,lora]"), ("all weights", "[reward_head,backbone]")):
            settings = ["--set", f"train.trainable={parts}", "--set", "train.lora.rank=4",
                        "--set", "train.lora.alpha=6"]
            tag = f"{name}-{parts[1:-1].replace(',', '-')}"
            run_folder = self.trained(tag, f"{models}/causal", *settings)
            scores = self.scores(tag, f"{models}/causal", "--checkpoint", run_folder, *settings)
            whole = f"{self.scratch}/whole-{tag}"
            run(self.program, "export", "--format", "hf-reference", "--checkpoint", run_folder, "--out", whole)
            self.compare(f"{name}, {kind}, exported whole", "--model", whole, "--float32", scores)
            if kind == "adapters":
                adapter = f"{self.scratch}/adapter-{tag}"
                run(self.program, "export", "--checkpoint", run_folder, "--out", adapter)
                self.compare(f"{name}, adapters apart", "--model", f"{models}/causal", "--adapter", adapter,
                             "--float32", scores)
        settings = ["--set", "train.trainable=[lora]", "--set", "reward.loss=simpo", "--set",
                    "train.lora.rank=4", "--set", "train.lora.alpha=6", "--set", "reward.simpo.beta=1"]
        run_folder = self.trained(f"{name}-simpo", f"{models}/causal", *settings)
        scores = self.scores(f"{name}-simpo", f"{models}/causal", "--checkpoint", run_folder, *settings)
        whole, adapter = f"{self.scratch}/whole-{name}-simpo", f"{self.scratch}/adapter-{name}-simpo"
        run(self.program, "export", "--format", "hf-reference", "--checkpoint", run_folder, "--out", whole)
        run(self.program, "export", "--checkpoint", run_folder, "--out", adapter)
        prompts = ["--prompts", f"{self.scratch}/prompts.json", "--float32", scores]
        self.compare(f"{name}, likelihoods, exported whole", "--model", whole, *prompts)
        self.compare(f"{name}, likelihoods, adapters apart", "--model", f"{models}/causal", "--adapter",
                     adapter, *prompts)


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    check = Check(os.path.abspath(sys.argv[1]), os.path.abspath(sys.argv[2]))
    for name in ("qwen3-tied", "qwen3-untied", "llama", "qwen2"):
        check.case(name)
    sys.exit(check.failed)


if __name__ == "__main__":
    main()
