#!/usr/bin/env python3
"""Order of packs in an epoch, written apart from the C++: Philox4x32-10 (Salmon et al., SC 2011),
Lemire's bounded numbers, Fisher-Yates from the end. Prints the values of sampler_test.cpp.

usage: shuffle_order.py [seed packs epochs]
"""
import sys

from philox import philox

MASK = 0xFFFFFFFF
SHUFFLE = 5  # RandomPurpose::shuffle


def bits(seed, a, b):
    key0 = (seed & MASK) ^ (SHUFFLE * 0x9E3779B9 & MASK)
    index = 0
    while True:
        yield philox([index >> 2, a, b, 0], [key0, seed >> 32])[index & 3]
        index += 1


def order(seed, packs, epoch):
    stream = bits(seed, epoch & MASK, epoch >> 32)

    def below(n):
        while True:
            product = next(stream) * n
            if (product & MASK) >= (2**32 - n) % n:
                return product >> 32

    packs = list(range(packs))
    for i in range(len(packs) - 1, 0, -1):
        j = below(i + 1)
        packs[i], packs[j] = packs[j], packs[i]
    return packs


if __name__ == "__main__":
    # Known answer of the Random123 distribution: zero counter, zero key.
    assert philox([0] * 4, [0, 0])[0] == 0x6627E8D5
    seed, packs, epochs = map(int, sys.argv[1:4] or (42, 10, 3))
    for e in range(epochs):
        print(order(seed, packs, e))
