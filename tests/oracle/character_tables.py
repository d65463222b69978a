#!/usr/bin/env python3
"""The tables of data/tokenizer/character_tables.cpp, from the Python package `tokenizers` and the PCRE2 of this machine.

    python3 tests/oracle/character_tables.py            (pip install tokenizers)

Prints, as C++: the letters, marks, numbers, punctuation and symbols that the package's regular expressions know in a
category and this PCRE2 does not; and what the package's pre-tokenizer Punctuation takes for punctuation.
"""
import ctypes

from tokenizers import Regex, pre_tokenizers

POINTS = [c for c in range(0x110000) if not 0xD800 <= c <= 0xDFFF]
CATEGORIES = "Lu Ll Lt Lm Lo Mn Mc Me Nd Nl No Pc Pd Ps Pe Pi Pf Po Sm Sc Sk So".split()


def of_package(pattern):
    """The characters that a Split matches."""
    split = pre_tokenizers.Split(Regex(pattern + "+"), "removed", invert=True)
    found = set()
    for i in range(0, len(POINTS), 4096):
        for piece, _ in split.pre_tokenize_str("".join(map(chr, POINTS[i:i + 4096]))):
            found.update(map(ord, piece))
    return found


def of_pcre2(pattern):
    utf, ucp, no_check = 0x00080000, 0x00020000, 0x40000000
    library = ctypes.CDLL("libpcre2-8.so.0")
    library.pcre2_compile_8.restype = ctypes.c_void_p
    library.pcre2_match_data_create_8.restype = ctypes.c_void_p
    library.pcre2_get_ovector_pointer_8.restype = ctypes.POINTER(ctypes.c_size_t)
    number, offset = ctypes.c_int(), ctypes.c_size_t()
    pattern, text = (pattern + "+").encode(), "".join(map(chr, POINTS)).encode()
    code = ctypes.c_void_p(library.pcre2_compile_8(pattern, ctypes.c_size_t(len(pattern)), utf | ucp,
                                                   ctypes.byref(number), ctypes.byref(offset), None))
    data = ctypes.c_void_p(library.pcre2_match_data_create_8(2, None))
    found, at = set(), 0
    while library.pcre2_match_8(code, text, ctypes.c_size_t(len(text)), ctypes.c_size_t(at), no_check, data, None) > 0:
        begin, at = library.pcre2_get_ovector_pointer_8(data)[:2]
        found.update(map(ord, text[begin:at].decode()))
    return found


def punctuation():
    cut, found = pre_tokenizers.Punctuation(), set()
    for i in range(0, len(POINTS), 4096):
        text = "".join("a" + chr(c) for c in POINTS[i:i + 4096] if c != ord("a")) + "a"
        found.update(ord(piece) for piece, _ in cut.pre_tokenize_str(text) if len(piece) == 1 and piece != "a")
    return found


def ranges(points):
    out = []
    for c in sorted(points):
        if out and out[-1][1] == c - 1:
            out[-1][1] = c
        else:
            out.append([c, c])
    return out


def show(name, rows):
    print(f"constexpr {name}[] = {{")
    print(",\n".join("    " + ", ".join(rows[i:i + 4]) for i in range(0, len(rows), 4)) + ",\n};")


def main():
    newer = []
    for category in CATEGORIES:
        pattern = "\\p{%s}" % category
        for first, last in ranges(of_package(pattern) - of_pcre2(pattern)):
            newer.append((first, last, category))
    show("NewerCharacters kNewer", ["{0x%x, 0x%x, k%s}" % row for row in sorted(newer)])
    show("CharacterRange kPunctuation", ["{0x%x, 0x%x}" % tuple(row) for row in ranges(punctuation())])


if __name__ == "__main__":
    main()
