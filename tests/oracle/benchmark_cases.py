"""Texts for the scores of benchmark/, and what PyPI's `rouge` 1.0.1, `rapidfuzz` and Python say about them.

The rules of LongBench are written down here a second time, from docs/benchmarks.md, in Python: what a string method or
a regular expression does there is what it does in the published programs. Imported by compare_benchmark_scores.py and
make_score_fixtures.py.          (pip install rouge==1.0.1 rapidfuzz numpy)
"""
import math
import random
import re
import string
import sys
import unicodedata
from collections import Counter

import numpy
from rapidfuzz.distance import Indel
from rouge import Rouge


def f1(pred, answer):
    words = []
    for text in (pred, answer):
        text = "".join(c for c in text.lower() if c not in string.punctuation)
        words.append(re.sub(r"\b(?:the|an|a)\b", " ", text).split())
    shared = sum((Counter(words[0]) & Counter(words[1])).values())
    if not shared:
        return 0.0
    precision, recall = shared / len(words[0]), shared / len(words[1])
    return 2 * precision * recall / (precision + recall)


def rouge(pred, answer):
    # As deep in calls as the published program is: two frames below the module.
    limit = sys.getrecursionlimit()
    depth, frame = 0, sys._getframe()
    while frame:
        depth, frame = depth + 1, frame.f_back
    sys.setrecursionlimit(1000 + depth - 3)
    try:
        return Rouge().get_scores([pred], [answer], avg=True)["rouge-l"]["f"]
    except (ValueError, RecursionError):
        return 0.0
    finally:
        sys.setrecursionlimit(limit)


def classes(pred, answer, names):
    found = [name for name in names if name in pred]
    for name in found:  # the list changes meanwhile, on purpose
        if name in answer and name != answer:
            found.remove(name)
    return 1.0 / len(found) if answer in found else 0.0


def count(pred, answer):
    numbers = re.findall(r"\d+", pred)
    return sum(n == answer for n in numbers) / len(numbers) if numbers else 0.0


def retrieval(pred, answer, before="Paragraph "):
    right = re.findall(before + r"(\d+)", answer)
    return count(pred, right[0]) if right else None


def code(pred, answer):
    lines = [line for line in pred.lstrip("\n").split("\n") if not re.search("[`#]|//", line)]
    line = lines[0] if lines else ""
    if line == answer:
        return 1.0
    if not line or not answer:
        return 0.0
    return int(round(100 * Indel.normalized_similarity(line, answer))) / 100


def expected(case):
    metric = case["metric"]
    if metric == "numpy_mean":
        return float(round(100 * numpy.mean(case["values"]), 2))
    if metric == "python_mean":
        total = 0.0
        for value in case["values"]:
            total += value
        return round(100 * total / len(case["values"]), 2)
    pred, answer = case["pred"], case["answer"]
    return {
        "lower": lambda: pred.lower(),
        "split": lambda: pred.split(),
        "digits": lambda: re.findall(r"\d+", pred),
        "articles": lambda: re.sub(r"\b(?:the|an|a)\b", " ", pred),
        "f1": lambda: f1(pred, answer),
        "rouge": lambda: rouge(pred, answer),
        "class": lambda: classes(pred, answer, case["classes"]),
        "count": lambda: count(pred, answer),
        "retrieval": lambda: retrieval(pred, answer),
        "retrieval_zh": lambda: retrieval(pred, answer, "段落"),
        "code": lambda: code(pred, answer),
        "indel": lambda: Indel.normalized_similarity(pred, answer),
    }[metric]()


WORDS = ("the a an The AN A tha ant and red house houses House animal ani animals entity abbreviation x y the-a _a a_ a1 "
         "1a naïve ΣΑΣ ΟΔΟΣ İstanbul straße Ǆ ǅ ª º é e\u0301 a\u0301 the\u0301 Ⅷ ⅷ ① ² 1/2 ½ 中文 中 文 日本 कखग ١٢ ৪ ３ 12 007 "
         "3.14 1,000 42 42nd Paragraph Paragraph12 段落 段落3 i'm don't re-use end. .. ... ! ? ¿ «a» “the” \U0001d7d8 \U0001d400 "
         "𐐀 K Å ẞ ﬁ ß \u00ad \u200b \ufeff").split()
SPACES = [" ", " ", " ", "  ", "\n", "\t", "\r\n", "\x0b", "\x1c", "\x1f", "\x85", "\u00a0", "\u1680", "\u2003", "\u2028",
          "\u202f", "\u3000", "\u180e", "\u200b", ".", ". ", ",", "", "\n\n"]
NUMBERS = ["1", "2", "10", "12", "012", "１２", "١٢", "१२", "1२", "²", "①", "½", "Ⅻ", "\U0001d7cf\U0001d7d0", "12a", "a12",
           "-12", "1.2", "1 2"]
KEYS = ["Paragraph 12", "Paragraph  12", "paragraph 12", "Paragraph ١٢", "Paragraph x Paragraph 2", "Paragraph ² Paragraph 1",
        "Paragraph 1２b", "段落12", "段落 1", "段落", "第段落２", "12", ""]
NAMES = ["entity", "enti", "ent", "ity", "Entity", "human", "human being", "man", "description", "abbreviation", "abb", "a", "",
         "Definition of something", "Definition", "of", "type", "新闻", "新闻体育", "体育"]


def assigned(c):
    return unicodedata.category(c) not in ("Cn", "Cs")


ALL = [c for c in map(chr, range(0x110000)) if assigned(c)]


def any_text(draw, most):
    """Words and spaces that matter, characters from all of Unicode now and then."""
    out = []
    for _ in range(draw.randrange(most + 1)):
        kind = draw.random()
        if kind < 0.05:
            out.append(draw.choice(ALL))
        elif kind < 0.12:
            out.append(draw.choice(string.punctuation))
        else:
            out.append(draw.choice(WORDS))
        out.append(draw.choice(SPACES))
    return "".join(out)


def varied(draw, text):
    """A text near the other one."""
    pieces = re.split(r"( |\.)", text)
    for _ in range(draw.randrange(4)):
        at = draw.randrange(len(pieces))
        if draw.random() < 0.5:
            pieces[at] = draw.choice(WORDS + SPACES + [""])
        else:
            pieces.insert(at, draw.choice(pieces))
    return "".join(pieces)


def line_of_code(draw):
    signs = ["(", ")", " = ", " ", "    ", "#", "//", "`", "\n", "\n\n", "x", "self.", "é", "中", "\r", "'", "0", "\U0001f600"]
    return "".join(draw.choice(signs[draw.randrange(9) > 6 and 5 or 0:]) for _ in range(draw.randrange(24)))


def pair(draw, metric):
    if metric == "class":
        names = draw.choices(NAMES, k=draw.randrange(1, 9))
        answer = draw.choice(names) if draw.random() < 0.9 else draw.choice(NAMES)
        pred = " ".join(draw.choices(names + WORDS[:6], k=draw.randrange(6)))
        return {"pred": pred, "answer": answer, "classes": names}
    if metric in ("count", "retrieval", "retrieval_zh"):
        pred = draw.choice(["", " ", ", ", "."]).join(draw.choices(NUMBERS + KEYS + WORDS, k=draw.randrange(6)))
        return {"pred": pred, "answer": draw.choice(NUMBERS if metric == "count" else KEYS + NUMBERS)}
    if metric in ("code", "indel"):
        pred = line_of_code(draw)
        answer = line_of_code(draw) if draw.random() < 0.5 else varied(draw, pred)
        if metric == "code" and draw.random() < 0.7:
            answer = answer.strip("\n").split("\n")[0]
        return {"pred": pred, "answer": answer}
    if metric == "rouge" and draw.random() < 0.5:
        # Few words, so that there are several longest common subsequences to choose from.
        texts = ("".join(draw.choice("abcdef") + draw.choice([" ", " ", " ", "."]) for _ in range(draw.randrange(1, 16)))
                 for _ in range(2))
        return dict(zip(("pred", "answer"), texts))
    pred = any_text(draw, draw.choice([1, 4, 12, 30]))
    return {"pred": pred, "answer": varied(draw, pred) if draw.random() < 0.6 else any_text(draw, 12)}


METRICS = ["f1", "rouge", "class", "count", "retrieval", "retrieval_zh", "code", "indel", "lower", "split", "digits",
           "articles"]


def random_cases(count, seed):
    draw = random.Random(seed)
    for i in range(count):
        metric = METRICS[i % len(METRICS)]
        yield {"metric": metric, **pair(draw, metric)}


def character_cases():
    """Each character of Unicode that this Python knows, where it can matter."""
    for i in range(0, len(ALL), 256):
        block = ALL[i:i + 256]
        for text in ("".join(block), "".join("A%sΣ" % c for c in block), "!".join("!%sΣ " % c for c in block),
                     "!".join("AΣ%s" % c for c in block), "1".join(block), "".join(" the%sa%s" % (c, c) for c in block)):
            for metric in ("lower", "split", "digits", "articles"):
                yield {"metric": metric, "pred": text, "answer": ""}


def long_cases():
    """Where the package's recursion ends, and sentences without full stops."""
    draw = random.Random(7)
    words = ["w%d" % i for i in range(1200)]
    for n in (1, 495, 496, 980, 988, 989, 990, 991, 992, 1100):
        yield {"metric": "rouge", "pred": " ".join(words[:n]), "answer": "z"}
        yield {"metric": "rouge", "pred": "z", "answer": " ".join(words[:n])}
        yield {"metric": "rouge", "pred": " ".join(words[:n]), "answer": " ".join(words[:n])}
        yield {"metric": "rouge", "pred": " ".join(words[:n]) + ". w1 w2", "answer": "w1. w2 w7 . w900"}
    for n in (300, 480, 520):
        for _ in range(3):
            yield {"metric": "rouge", "pred": " ".join(draw.choices(words[:60], k=n)),
                   "answer": " ".join(draw.choices(words[:60], k=n))}


def mean_cases(count, seed):
    draw = random.Random(seed)
    for i in range(count):
        values = [draw.choice([0.0, 1.0, 0.5, 1 / 3, 0.25, draw.random(), draw.randrange(101) / 100])
                  for _ in range(draw.randrange(1, 700) if i % 3 else draw.randrange(1, 20))]
        yield {"metric": "numpy_mean" if i % 2 else "python_mean", "values": values}


def same(got, wanted):
    if isinstance(wanted, float) and isinstance(got, (int, float)):
        return math.isclose(got, wanted, rel_tol=0, abs_tol=1e-9)
    return got == wanted
