#!/usr/bin/env python3
"""Compares `elastron benchmark --score` with the benchmarks' own programs on made-up predictions, file by file.

    python3 tests/oracle/compare_published_scores.py build/elastron LONGBENCH RULER [SEED]

LONGBENCH and RULER are checkouts of THUDM/LongBench and NVIDIA/RULER. (pip install rouge==1.0.1 rapidfuzz numpy jieba
fuzzywuzzy python-Levenshtein pandas pyyaml; nltk, nemo and tqdm, which RULER imports and does not need here, have
stand-ins.)
"""
import json
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile

import benchmark_cases as cases

METRIC_OF_SET = {
    "narrativeqa": "f1", "qasper": "f1", "multifieldqa_en": "f1", "hotpotqa": "f1", "2wikimqa": "f1", "musique": "f1",
    "triviaqa": "f1", "gov_report": "rouge", "qmsum": "rouge", "multi_news": "rouge", "samsum": "rouge", "trec": "class",
    "lsht": "class", "passage_retrieval_en": "retrieval", "passage_retrieval_zh": "retrieval_zh", "passage_count": "count",
    "lcc": "code", "repobench-p": "code"}
RULER_TASKS = ["niah_single_1", "niah_multikey_2", "vt", "cwe", "qa_1", "qa_2"]


def write(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def without_nan(value):
    if isinstance(value, dict):
        return {k: without_nan(v) for k, v in value.items()}
    return None if value != value else value


def ours(program, arguments, out):
    subprocess.run([program, "benchmark", *arguments, "--out", out], check=True, stdout=subprocess.DEVNULL)
    return json.loads(pathlib.Path(out).read_text())


def longbench_rows(draw, metric):
    last_classes = None
    count = 0
    wanted = draw.randrange(1, 300)
    while count < wanted:
        case = cases.pair(draw, metric)
        answers = [case["answer"]]
        if metric not in ("retrieval", "retrieval_zh"):
            answers += [cases.pair(draw, metric)["answer"] for _ in range(draw.randrange(3))]
        elif cases.retrieval("", case["answer"], "Paragraph " if metric == "retrieval" else "段落") is None:
            continue
        count += 1
        last_classes = case.get("classes", last_classes)
        yield {"pred": draw.choice(["", "\n\n", "\n"]) + case["pred"], "answers": answers, "all_classes": last_classes,
               "length": draw.choice([10, 3999, 4000, 7999, 8000, 20000][draw.randrange(2) * 2:])}


def compare_longbench(program, checkout, draw, folder):
    """In a copy, for the program reads and writes beside itself."""
    copy = folder / "LongBench"
    shutil.copytree(pathlib.Path(checkout) / "LongBench", copy)
    wrong = 0
    for kind, options in (("pred", []), ("pred_e", ["--e"])):
        predictions = copy / kind / "model"
        for name, metric in METRIC_OF_SET.items():
            write(predictions / (name + ".jsonl"), longbench_rows(draw, metric))
        subprocess.run([sys.executable, "eval.py", "--model", "model", *options], cwd=copy, check=True,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        theirs = without_nan(json.loads((predictions / "result.json").read_text()))
        got = ours(program, ["longbench", "--score", predictions, *options], folder / "out.json")
        for name in METRIC_OF_SET:
            if got[name] != theirs[name]:
                print("DIFFERS: %s of %s: %s, published %s" % (name, kind, got[name], theirs[name]))
                wrong += 1
    return wrong


def compare_longbench_v2(program, checkout, draw, folder):
    rows = [{"_id": str(i), "difficulty": draw.choice(["easy", "hard"]), "length": draw.choice(["short", "medium", "long"]),
             "pred": draw.choice(["A", None]), "judge": draw.random() < 0.4} for i in range(503)]
    write(folder / "v2" / "results" / "a.model.jsonl", rows)
    subprocess.run([sys.executable, pathlib.Path(checkout).resolve() / "result.py"], cwd=folder / "v2", check=True)
    theirs = (folder / "v2" / "result.txt").read_text().split("\n")[1].split("\t")
    got = ours(program, ["longbench-v2", "--score", folder / "v2" / "results"], folder / "out.json")["a.model"]
    same = theirs[1:] == [str(got[part]) for part in ("overall", "easy", "hard", "short", "medium", "long")]
    if not same:
        print("DIFFERS: LongBench-v2: %s, published %s" % (got, theirs))
    return 0 if same else 1


STAND_INS = """
import json, sys, types
for name in ("nltk", "nltk.data", "nemo", "nemo.collections", "nemo.collections.asr", "nemo.collections.asr.parts",
             "nemo.collections.asr.parts.utils", "nemo.collections.asr.parts.utils.manifest_utils", "tqdm"):
    sys.modules[name] = types.ModuleType(name)
sys.modules["nltk"].data = sys.modules["nltk.data"]
sys.modules["nltk.data"].find = lambda name: name
sys.modules["tqdm"].tqdm = lambda lines: lines
manifests = sys.modules["nemo.collections.asr.parts.utils.manifest_utils"]
manifests.read_manifest = lambda path: [json.loads(line) for line in open(path, encoding="utf-8")]
manifests.write_manifest = None
"""


def compare_ruler(program, checkout, draw, folder):
    predictions = folder / "ruler"
    for task in RULER_TASKS:
        rows = []
        for i in range(draw.randrange(2, 120)):
            outputs = [cases.any_text(draw, 2) or "x" for _ in range(draw.randrange(1, 6))]
            pred = draw.choice(["", " \x01\n", "A,b \"c\" "]) + cases.any_text(draw, 5) + draw.choice(outputs).upper()
            rows.append({"index": i, "pred": draw.choice([pred, pred, " \x1f"]), "input": "", "outputs": outputs,
                         "others": draw.choice([{}, {"id": i + 1000}]), "truncation": -1, "length": 1})
        write(predictions / (task + ".jsonl"), rows)
    scripts = pathlib.Path(checkout).resolve() / "scripts" / "eval"
    runner = folder / "evaluate_ruler.py"
    runner.write_text(STAND_INS + "import runpy\nsys.path.insert(0, %r)\nrunpy.run_path(%r, run_name='__main__')\n"
                      % (str(scripts), str(scripts / "evaluate.py")))
    subprocess.run([sys.executable, runner, "--data_dir", predictions], check=True, stdout=subprocess.DEVNULL,
                   stderr=subprocess.DEVNULL)
    ours(program, ["ruler", "--score", predictions, "--csv", folder / "csv"], folder / "out.json")
    wrong = 0
    for name in ("summary.csv", "submission.csv"):
        if (predictions / name).read_bytes() != (folder / "csv" / name).read_bytes():
            print("DIFFERS: %s, see %s and %s" % (name, predictions / name, folder / "csv" / name))
            wrong += 1
    return wrong


def main():
    program, longbench, ruler = sys.argv[1:4]
    seed = int(sys.argv[4]) if len(sys.argv) > 4 else 1
    program = str(pathlib.Path(program).resolve())
    folder = pathlib.Path(tempfile.mkdtemp())
    draw = random.Random(seed)
    wrong = (compare_longbench(program, longbench, draw, folder) + compare_longbench_v2(program, longbench, draw, folder)
             + compare_ruler(program, ruler, draw, folder))
    print("seed %d: %d differ" % (seed, wrong))
    if not wrong:
        shutil.rmtree(folder)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
