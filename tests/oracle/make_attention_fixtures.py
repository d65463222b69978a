#!/usr/bin/env python3
"""Fixtures of routed attention, from an independent PyTorch implementation.

    /usr/bin/python3 tests/oracle/make_attention_fixtures.py     (Debian: python3-torch)

Full and streaming attention (dense_attention.py).
"""
import os

from dense_attention import integers, visible, write_fixture

OUT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "fixtures", "attention")
CASES = {
    # Blocks smaller than any tile, empty and one-token sequences, three query heads per kv head.
    "small_blocks": dict(seed=1, q_heads=6, kv_heads=2, head_dim=8, lengths=[1, 0, 7, 40, 19],
                         padding=4, block=4, sink=1, local=2),
    # Several tiles per row, tiles partly visible, a head_dim that fills no register.
    "long_row": dict(seed=2, q_heads=2, kv_heads=2, head_dim=10, lengths=[200], padding=0,
                     block=24, sink=1, local=3),
}


def make(name, c):
    rule = (c["block"], c["sink"], c["local"])
    write_fixture(os.path.join(OUT, name + ".safetensors"), c,
                  lambda length, q, k: visible(length, *rule),
                  {"shape": integers(c["q_heads"], c["kv_heads"], c["head_dim"], c["padding"]),
                   "rule": integers(*rule)})


if __name__ == "__main__":
    os.makedirs(OUT, exist_ok=True)
    for case in CASES.items():
        make(*case)
