#!/usr/bin/env python3
"""The tables of benchmark/scores/letter_case.cpp, from what Python's str.lower() does with a sigma.

    python3 tests/oracle/letter_case_tables.py

Prints, as C++, the characters with a case that are no letters of the categories Lu, Ll and Lt, and
those that are passed over and of none of the categories Mn, Me, Cf, Lm and Sk.
"""
import unicodedata

SIGMA = "Σ"
POINTS = [chr(c) for c in range(0x110000) if not 0xD800 <= c <= 0xDFFF]


def final(text):
    return (text + SIGMA).lower().endswith("ς")


def cased(c):
    return final("!" + c)


def passed_over(c):
    return final("A" + c) and not final("!" + c)


def show(name, characters):
    ranges = []
    for c in map(ord, characters):
        if ranges and ranges[-1][1] == c - 1:
            ranges[-1][1] = c
        else:
            ranges.append([c, c])
    print("constexpr Range %s[] = {%s};" % (name, ", ".join("{0x%x, 0x%x}" % tuple(r) for r in ranges)))


show("kOtherCased", [c for c in POINTS if cased(c) and unicodedata.category(c) not in ("Lu", "Ll", "Lt")])
show("kOtherIgnorable", [c for c in POINTS if passed_over(c)
                         and unicodedata.category(c) not in ("Mn", "Me", "Cf", "Lm", "Sk")])
