#!/usr/bin/env python3
"""Which of the families' templates a chat template renders like, and its hash for the table in
data/known_templates.cpp.

    python3 tests/oracle/check_chat_templates.py chat_template.jinja ...   (pip install jinja2 xxhash)

Each file is rendered with Jinja, as transformers does, on all conversations of
tests/fixtures/chat/<family>/cases.jsonl, and the texts are compared with those that
make_chat_fixtures.py wrote there. A text belongs in the table with a family only where no
conversation differs.
"""
import datetime
import json
import os
import sys

import xxhash
from jinja2 import TemplateSyntaxError
from jinja2.sandbox import ImmutableSandboxedEnvironment

CHAT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "fixtures", "chat")
FAMILIES = {"qwen3": None, "llama3": "<|begin_of_text|>"}


def template_hash(text):
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    return xxhash.xxh3_128_hexdigest(text.removesuffix("\n").encode())


def differences(text, family):
    def refuse(message):
        raise ValueError(message)

    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True,
                                                extensions=["jinja2.ext.loopcontrols"])
    environment.globals.update(
        raise_exception=refuse,
        strftime_now=lambda form: datetime.datetime.now().strftime(form))
    template = environment.from_string(text)
    count, cases = 0, 0
    with open(os.path.join(CHAT, family, "cases.jsonl"), encoding="utf-8") as lines:
        for line in lines:
            case = json.loads(line)
            messages = [{"role": role, "content": content} for role, content in case["messages"]]
            try:
                rendered = template.render(
                    messages=messages, add_generation_prompt=case["generation_prompt"],
                    enable_thinking=False, bos_token=FAMILIES[family])
            except Exception as error:  # whatever a stranger's template does
                rendered = repr(error)
            count += rendered != case["text"]
            cases += 1
    return count, cases


def main():
    for path in sys.argv[1:]:
        with open(path, encoding="utf-8", newline="") as file:
            text = file.read()
        found = []
        for family in FAMILIES:
            try:
                count, cases = differences(text, family)
                found.append(f"{family}: {count} of {cases} differ")
            except TemplateSyntaxError as error:
                found.append(f"{family}: {error}")
        print(f"{template_hash(text)}  {os.path.basename(path)}  " + ", ".join(found))


if __name__ == "__main__":
    main()
