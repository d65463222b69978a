#!/usr/bin/env python3
"""Parquet files of records to JSON lines for `elastron pack` and `data.format: jsonl`.

    pip install pyarrow
    python3 launch/convert_parquet.py --out records.jsonl train-00000.parquet [...]

Columns: context, question, answer (text) and metadata (a struct, a map, or its text) with `task` and,
optionally, `is_prefix` and `kind`; others are left out. Rows keep their order. Memory is bounded by
one batch of rows. The output is whole or absent. Needed only to convert: training and packing run
without Python.
"""
import argparse
import json
import os
import sys

TEXTS = ("context", "question", "answer")


class BadInput(Exception):
    """One line: what, where, what to do."""


def metadata_of(value, where):
    """The metadata as an object with its empty fields left out, or its text as it is."""
    if isinstance(value, str):
        return value  # JSON or Python's text of a dict: the readers know both
    if isinstance(value, list):  # a map's entries
        value = dict(value)
    if not isinstance(value, dict):
        raise BadInput(f"metadata is neither a struct, a map nor text ({where}): check the file")
    return {key: item for key, item in value.items()
            if key in ("task", "kind", "is_prefix") and item is not None}


def rows_of(path):
    import pyarrow
    import pyarrow.parquet

    try:
        file = pyarrow.parquet.ParquetFile(path)
        columns = file.schema_arrow.names
        missing = [name for name in TEXTS + ("metadata",) if name not in columns]
        if missing:
            raise BadInput(f"column {missing[0]} is missing ({path}): the file has "
                           f"{', '.join(columns)}")
        number = 0
        for batch in file.iter_batches(batch_size=256, columns=[*TEXTS, "metadata"]):
            for row in batch.to_pylist():
                where = f"{path}, row {number}"
                number += 1
                for name in TEXTS:
                    if not isinstance(row[name], str):
                        raise BadInput(f"column {name} is not text ({where}): check the file")
                yield {**{name: row[name] for name in TEXTS},
                       "metadata": metadata_of(row["metadata"], where)}
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
        raise BadInput(f"cannot read: {str(error).splitlines()[0]} ({path}): check the file") from None


def convert(paths, out):
    """-> rows written."""
    temporary = f"{out}.tmp-{os.getpid()}"
    count = 0
    try:
        with open(temporary, "x", encoding="utf-8", newline="\n") as lines:
            for path in paths:
                for row in rows_of(path):
                    lines.write(json.dumps(row, ensure_ascii=False) + "\n")
                    count += 1
            if count == 0:
                raise BadInput(f"there is no row ({', '.join(paths)}): check the files")
            lines.flush()
            os.fsync(lines.fileno())
        os.replace(temporary, out)
    finally:
        if os.path.exists(temporary):
            os.unlink(temporary)
    return count


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", required=True, help="JSONL file; replaced when all is done")
    parser.add_argument("files", nargs="+", help="Parquet files, in the order of their rows")
    arguments = parser.parse_args()
    try:
        import pyarrow  # noqa: F401
    except ImportError:
        print("error: pyarrow is missing (python3): pip install pyarrow", file=sys.stderr)
        return 2
    try:
        count = convert(arguments.files, arguments.out)
    except BadInput as error:
        print(f"error: {error}", file=sys.stderr)
        return 3
    except OSError as error:
        print(f"error: {error.strerror} ({arguments.out}): check the folder and its space",
              file=sys.stderr)
        return 3
    print(f"{arguments.out}: {count} records")
    return 0


if __name__ == "__main__":
    sys.exit(main())
