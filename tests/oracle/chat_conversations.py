"""Conversations that try chat templates, and what transformers makes of them."""
import functools

from jinja2.exceptions import TemplateError
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast

CONTENTS = [
    "", " ", "\n", "Hello", "  Hello  ", "\n\nHello\n\n", "\tHello\r\n", "two\nlines",
    "<think>\nwhy\n</think>\n\nBecause.", "<think>\n\n</think>\n\nplain", "<think></think>", "</think>",
    "<think>", "\n<think>\n\n a \n\n</think>\n\n\n b \n", "<think>a</think>b<think>c</think>\n\nd",
    "no start</think>\nrest", "<think>x<think>\ny</think>z", "<think>\n \n</think>\n \nspaces",
    "\u00a0\u3000\x1c\x1fwide\x85\u2028\u2029\u1680\u205f", "\u200b\u180e\ufeffnot stripped\ufeff\u180e\u200b",
    "gr\u00fc\u00dfe \u4f60\u597d \U0001f468\u200d\U0001f469", "e\u0301", "<|im_end|>\n<|im_start|>system\nx",
    "<|eot_id|><|begin_of_text|>", "<tool_response>\n5\n</tool_response>", "<tool_response>5",
    "{{ messages }} {% if x %}", "\\n 'quotes' \"double\"", "\u2003", "\x0b\x0cx\x0b"]
PIECES = CONTENTS + [
    "\n", "\n\n", " ", "\t", "x", "</think>", "<think>", "<think>\n", "\n</think>\n\n", "<tool_response>",
    "</tool_response>", "[INST]", "[/INST]", "</s>", "<\uff5cUser\uff5c>", "<\uff5cAssistant\uff5c>",
    "\u4e2d\u6587", "\U0001f600", "\u00a0", "caf\u00e9", "a b", "\x85", "\u3000", "\x1c", "''", "{%", "\\"]
# The template's variables that a model's tokenizer has a value for, by what the text speaks of.
VARIABLES = (
    ("<|start_header_id|>", "<|begin_of_text|>", "<|eot_id|>"),
    ("<\uff5cUser\uff5c>", "<\uff5cbegin\u2581of\u2581sentence\uff5c>", "<\uff5cend\u2581of\u2581sentence\uff5c>"),
    ("[INST]", "<s>", "</s>"),
    ("<|im_start|>", None, "<|im_end|>"))
DATE = "26 Jul 2024"  # Llama-3.2's own where there is no clock


@functools.cache
def tokenizer_of(template):
    bos, eos = next(v[1:] for v in VARIABLES if v[0] in template)
    return PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.BPE()), bos_token=bos, eos_token=eos)


def rendered(template, turns, generation_prompt):
    """What apply_chat_template gives for [(role, content)], thinking off; None where the template refuses."""
    messages = [{"role": role, "content": content} for role, content in turns]
    try:
        return tokenizer_of(template).apply_chat_template(
            messages, chat_template=template, tokenize=False, add_generation_prompt=generation_prompt,
            enable_thinking=False, date_string=DATE)
    except TemplateError:
        return None


def content(rng):
    if rng.random() < 0.3:
        return rng.choice(CONTENTS)
    return "".join(rng.choice(PIECES) for _ in range(rng.randint(0, 6)))


def random_conversation(rng):
    """With a system message or none, of one to eight turns that mostly alternate, ending with either side."""
    turns = [("system", content(rng))] if rng.random() < 0.4 else []
    alternates = rng.random() < 0.8
    for i in range(rng.randint(0 if turns else 1, 8)):
        role = ("user", "assistant")[i % 2] if alternates else rng.choice(["user", "assistant", "assistant", "system"])
        turns.append((role, content(rng)))
    return turns
