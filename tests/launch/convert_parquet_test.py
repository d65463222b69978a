#!/usr/bin/env python3
"""launch/convert_parquet.py: what it writes is what elastron pack reads, and bad files are one line.

    convert_parquet_test.py ELASTRON MODEL_FOLDER    (ends with 77, "skipped", without pyarrow)
"""
import json
import os
import subprocess
import sys
import tempfile

try:
    import pyarrow
    import pyarrow.parquet
except ImportError:
    print("skipped: pyarrow is not installed")
    sys.exit(77)

HERE = os.path.dirname(os.path.abspath(__file__))
CONVERTER = os.path.join(HERE, "..", "..", "launch", "convert_parquet.py")


def run(*command):
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr


def check(condition, what):
    if not condition:
        sys.exit(f"failed: {what}")


def expect_error(code, text, *command):
    got = run(*command)
    check(got[0] == code and text in got[2] and got[2].count("\n") == 1, f"{text}: {got}")


def main():
    elastron, model = sys.argv[1:]
    texts = [("a b c", "why\u2028\u4e2d", "because"), ("\ufeffd e", "who?", ""), ("f\n" * 50, "g", "h")]
    objects = [{"task": "Code", "is_prefix": False, "length": 3, "kind": None},
               {"task": "Single QA", "is_prefix": None, "length": None, "kind": "old"},
               {"task": "Summarization", "is_prefix": True, "length": 9, "kind": None}]
    kept = [{"task": "Code", "is_prefix": False}, {"task": "Single QA", "kind": "old"},
            {"task": "Summarization", "is_prefix": True}]
    columns = {name: [t[i] for t in texts] for i, name in enumerate(("context", "question", "answer"))}
    entries = pyarrow.array([[("task", m["task"])] for m in kept],
                            pyarrow.map_(pyarrow.string(), pyarrow.string()))
    forms = {"struct": (objects, kept), "text": ([str(m) for m in kept],) * 2,
             "map": (entries, [{"task": m["task"]} for m in kept])}
    with tempfile.TemporaryDirectory() as folder:
        def path(name):
            return os.path.join(folder, name)

        def write(name, **more):
            pyarrow.parquet.write_table(pyarrow.table({**columns, "source": ["x"] * 3, **more}),
                                        path(name), row_group_size=2)
            return path(name)

        out = path("out.jsonl")
        for form, (metadata, wanted) in forms.items():
            file = write(form + ".parquet", metadata=metadata)
            code, text, error = run(sys.executable, CONVERTER, "--out", out, file, file)
            check(code == 0 and text == f"{out}: 6 records\n", (form, code, text, error))
            with open(out, encoding="utf-8", newline="\n") as lines:
                rows = [json.loads(line) for line in lines.read().split("\n")[:-1]]
            check(rows == 2 * [{"context": c, "question": q, "answer": a, "metadata": m}
                               for (c, q, a), m in zip(texts, wanted)], (form, rows))
            code, text, error = run(elastron, "pack", "--model", model, "--in", out, "--out",
                                    path("out.h5"), "--max-tokens", 400, "--min-tokens", 1)
            check(code == 0 and "documents: 6 " in text, (form, code, text, error))

        before = open(out, "rb").read()
        base = (sys.executable, CONVERTER, "--out", out)
        expect_error(3, "none.parquet", *base, path("none.parquet"))
        expect_error(3, "column metadata is missing", *base, write("lacks.parquet"))
        expect_error(3, "row 1", *base, write("null.parquet", metadata=objects, answer=["x", None, "y"]))
        expect_error(3, "neither a struct", *base, write("number.parquet", metadata=[1, 2, 3]))
        with open(path("cut.parquet"), "wb") as cut:
            cut.write(open(path("struct.parquet"), "rb").read()[:-50])
        expect_error(3, "cut.parquet", *base, path("cut.parquet"))
        expect_error(3, "none/out", sys.executable, CONVERTER, "--out", path("none/out"),
                     path("struct.parquet"))
        check(open(out, "rb").read() == before, "a failure changed the output")
        check(not [n for n in os.listdir(folder) if ".tmp-" in n], os.listdir(folder))


if __name__ == "__main__":
    main()
