#!/usr/bin/env python3
"""Makes tests/fixtures/report: what short runs of the program leave, for the tests of elastron report.

    tests/oracle/make_report_fixtures.py build/elastron        # from the sources' root, a minute

Two trainings of routers, an evaluation of one, scores of heads, a benchmark with a comparison,
perplexity, a reward report. Files that a page is not made of are left out.
"""
import json
import os
import shutil
import subprocess
import sys
import tempfile

PROGRAM = os.path.abspath(sys.argv[1])
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
OUT = os.path.join(ROOT, "tests", "fixtures", "report")
BACKBONE = "configs/tiny/backbone"
SMALL = ["train.steps=20", "log.every=1", "data.max_tokens=600", "train.global_batch=4",
         "data.synthetic.lengths=[128,256]", "data.synthetic.eval_per_kind=4", "checkpoint.every=10",
         "eval.every=5"]
KINDS = {"needle": "niah_single_1", "trace": "vt"}


def elastron(*arguments, settings=()):
    command = [PROGRAM, *arguments]
    for setting in settings:
        command += ["--set", setting]
    subprocess.run(command, check=True, cwd=work, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def keep(path, to=None):
    target = os.path.join(OUT, to or path)
    os.makedirs(os.path.dirname(target), exist_ok=True)
    shutil.copyfile(os.path.join(work, path), target)


def make_ruler():
    """RULER's rows of the synthetic tasks, in whose words the backbone was trained."""
    for words in (128, 256):
        for kind, task in KINDS.items():
            elastron("synthesize", "--out", "r.jsonl", "--kind", kind, "--length", str(words),
                     "--records", "4")
            folder = os.path.join(work, "ruler", str(words), "data", task)
            os.makedirs(folder)
            with open(os.path.join(work, "r.jsonl")) as source, \
                    open(os.path.join(folder, "validation.jsonl"), "w") as rows:
                for index, line in enumerate(source):
                    document = json.loads(line)
                    rows.write(json.dumps({
                        "index": index, "input": document["context"] + " ",
                        "answer_prefix": document["question"],
                        "outputs": [document["answer"].split()[-1]], "length": 0}) + "\n")


def train():
    elastron("train", "configs/tiny/router.yaml", settings=[*SMALL, "output.dir=runs/first"])
    elastron("train", "configs/tiny/router.yaml",
             settings=[*SMALL, "output.dir=runs/second", "train.seed=7", "router.reg.t_sen=0.3"])
    for run in ("first", "second"):
        for name in ("config.yaml", "log.txt", "metrics.jsonl", "run.json"):
            keep(f"runs/{run}/{name}")


def evaluate():
    elastron("eval", "configs/tiny/router.yaml", "--checkpoint", "latest", "--compare", "--out",
             "eval.json", settings=[*SMALL, "output.dir=runs/first"])
    keep("eval.json")
    elastron("score-heads", "--model", BACKBONE, "--out", "scores.json", "--after", "1",
             settings=["data.format=synthetic", "data.synthetic.eval_per_kind=4",
                       "data.synthetic.lengths=[128]"])
    keep("scores.json")


def benchmark():
    make_ruler()
    routing = [f"router.ssa.{key}" for key in ("sink=16", "local=32", "block=16")]
    elastron("benchmark", "ruler", "--compare", "--model", BACKBONE, "--router", "runs/first",
             "--data", "ruler", "--out", "ruler_results", settings=routing)
    keep("ruler_results/compare.json")
    for gates in ("full", "router", "random-1"):
        keep(f"ruler_results/{gates}/results.json")
    with open(os.path.join(work, "books.jsonl"), "w") as books:
        with open(os.path.join(work, "r.jsonl")) as source:
            for line in source:
                books.write(json.dumps({"text": json.loads(line)["context"]}) + "\n")
    elastron("benchmark", "perplexity", "--model", BACKBONE, "--router", "runs/first", "--data",
             "books.jsonl", "--length", "32", "64", "128", "--window", "16", "--out", "perplexity",
             settings=routing)
    keep("perplexity/results.json")


def reward():
    small = ["train.steps=10", "log.every=1", "output.dir=runs/reward"]
    elastron("train", "configs/tiny/reward.yaml", settings=small)
    elastron("synthesize", "--pairs", "--out", "pairs.jsonl", "--records", "24")
    elastron("eval-reward", "configs/tiny/reward.yaml", "--checkpoint", "runs/reward", "--data",
             "pairs.jsonl", "--out", "reward")
    keep("reward/summary.json")
    keep("reward/rows.meta.json")


with tempfile.TemporaryDirectory() as work:
    os.symlink(os.path.join(ROOT, "configs"), os.path.join(work, "configs"))
    shutil.rmtree(OUT, ignore_errors=True)
    for make in (train, evaluate, benchmark, reward):
        make()
