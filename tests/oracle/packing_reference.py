"""The data path of Elastic Attention (text, labels, ranges, packing), written once more in Python.

Independent of the C++ code: text and packing are plain Python, templates are rendered by
transformers, tokens come from the tokenizers package. Compared with what `elastron pack` writes by
compare_packing.py, and in CI by way of make_packed_fixtures.py.
"""
import ast
import json
import os

from tokenizers import Tokenizer

TASKS = ["Single QA", "MultiHop QA", "Summarization", "Code", "In-Context Learning"]
DEFAULTS = {"max_tokens": 65536, "min_tokens": 1000, "packing": "sorted", "label_mode": "all",
            "chat_template": "auto", "summarization_before": "", "summarization_after": "",
            "code_before": ""}


class Dropped(Exception):
    """A record that gives no document; its text says why."""


class Model:
    """Tokenizer, end-of-sequence token and chat template of a model folder."""

    def __init__(self, folder, eos=None, template=None):
        self.tokenizer = Tokenizer.from_file(os.path.join(folder, "tokenizer.json"))
        self.tokenizer.no_truncation()
        if eos is None:
            with open(os.path.join(folder, "config.json"), encoding="utf-8") as file:
                eos = json.load(file)["eos_token_id"]
            eos = eos[0] if isinstance(eos, list) else eos
        self.eos = eos
        path = os.path.join(folder, "chat_template.jinja")
        if template is None and os.path.exists(path):
            with open(path, encoding="utf-8") as file:
                template = file.read()
        config = os.path.join(folder, "tokenizer_config.json")
        if template is None and os.path.exists(config):
            with open(config, encoding="utf-8") as file:
                template = json.load(file).get("chat_template")
            if isinstance(template, list):
                template = next(t["template"] for t in template if t["name"] == "default")
        self.renderer = None
        if template is not None:
            from transformers import PreTrainedTokenizerFast
            self.renderer = PreTrainedTokenizerFast(tokenizer_object=self.tokenizer)
            self.renderer.chat_template = template
            if self.tokenizer.token_to_id("<|begin_of_text|>") is not None:  # Llama's
                self.renderer.bos_token = "<|begin_of_text|>"

    def encode(self, text):
        return self.tokenizer.encode(text, add_special_tokens=False).ids

    def render(self, messages):
        return self.renderer.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=False, enable_thinking=False)


def parse(line):
    row = json.loads(line)
    metadata = row["metadata"]
    if isinstance(metadata, str):
        try:
            metadata = json.loads(metadata)
        except json.JSONDecodeError:
            metadata = ast.literal_eval(metadata)
    text = {key: row[key].replace("\ufeff", "") for key in ("context", "question", "answer")}
    return {**text, "task": metadata["task"], "is_prefix": metadata.get("is_prefix", True)}


def user_text(row, options):
    question = "\n" + row["question"].lstrip()
    context = "\n" + row["context"].rstrip()
    text = question + "\n" + context if row["is_prefix"] else context + "\n" + question
    if row["task"] == "Summarization":
        text = options["summarization_before"] + text
        if options["summarization_after"]:
            text += "\n\n" + options["summarization_after"]
    if row["task"] == "Code":
        text = options["code_before"] + text
    return text


def document(row, model, options):
    if row["task"] not in TASKS:
        raise Dropped("unknown task")
    user = user_text(row, options)
    if model.renderer is not None and options["chat_template"] != "none":
        turns = [{"role": "user", "content": user}]
        user_length = len(model.encode(model.render(turns)))
        if row["answer"]:
            turns.append({"role": "assistant", "content": row["answer"]})
        ids = model.encode(model.render(turns))
    else:
        ids = model.encode(user)
        user_length = len(ids)
        ids = ids + model.encode(row["answer"])
    if not ids or ids[-1] != model.eos:
        ids = ids + [model.eos]
    if len(ids) > options["max_tokens"]:
        raise Dropped("overlong")
    if len(ids) < options["min_tokens"]:
        raise Dropped("short")
    labels = list(ids)
    for i in range(max(1, user_length if options["label_mode"] == "answer" else 1)):
        labels[i] = -100
    return {"ids": ids, "labels": labels, "task_id": TASKS.index(row["task"]),
            "task_type": row["task"],
            "range_ids": [0, 0, 0, user_length - 1, 0, user_length - 1, user_length, len(ids) - 1]}


def packs_of(lengths, options):
    """Lists of indices into `lengths`."""
    most, mode = options["max_tokens"], options["packing"]
    if mode == "none":
        return [[i] for i in range(len(lengths))]
    packs, room = [], []
    if mode == "sorted":
        for i in sorted(range(len(lengths)), key=lambda i: lengths[i]):
            if not packs or room[-1] < lengths[i]:
                packs.append([])
                room.append(most)
            packs[-1].append(i)
            room[-1] -= lengths[i]
    else:
        for i, length in enumerate(lengths):
            for p in range(len(packs)):
                if room[p] >= length:
                    break
            else:
                p = len(packs)
                packs.append([])
                room.append(most)
            packs[p].append(i)
            room[p] -= length
    return packs


def pack(lines, model, options):
    """-> the packed rows with the reference's columns, and what was dropped."""
    options = {**DEFAULTS, **options}
    documents, dropped = [], {}
    for line in lines:
        if not line.strip():
            continue
        try:
            documents.append(document(parse(line), model, options))
        except Dropped as why:
            dropped[str(why)] = dropped.get(str(why), 0) + 1
    rows = []
    for members in packs_of([len(d["ids"]) for d in documents], options):
        chosen = [documents[i] for i in members]
        lengths = [0]
        for d in chosen:
            lengths.append(lengths[-1] + len(d["ids"]))
        rows.append({"input_ids": sum((d["ids"] for d in chosen), []),
                     "labels": sum((d["labels"] for d in chosen), []),
                     "seq_lengths": lengths,
                     "task_ids": [d["task_id"] for d in chosen],
                     "task_type": [d["task_type"] for d in chosen],
                     "range_ids": [d["range_ids"] for d in chosen]})
    return rows, dropped
