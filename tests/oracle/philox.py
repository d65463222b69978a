"""Elastron's counter-based random numbers, a second time: core/philox.h and the gates' noise."""
GATE_NOISE = 1


def philox(counter, key):
    counter, key = [int(c) for c in counter], [int(k) for k in key]
    for _ in range(10):
        a, b = 0xD2511F53 * counter[0], 0xCD9E8D57 * counter[2]
        counter = [(b >> 32) ^ counter[1] ^ key[0], b & 0xFFFFFFFF,
                   (a >> 32) ^ counter[3] ^ key[1], a & 0xFFFFFFFF]
        key = [(key[0] + 0x9E3779B9) & 0xFFFFFFFF, (key[1] + 0xBB67AE85) & 0xFFFFFFFF]
    return counter


def gate_uniform(seed, step, sample_key, layer, head, cls):
    key = [(seed & 0xFFFFFFFF) ^ (GATE_NOISE * 0x9E3779B9 & 0xFFFFFFFF), seed >> 32]
    block = philox([cls >> 2, step, sample_key, layer << 16 | head], key)
    return (block[cls & 3] >> 8) * 2.0 ** -24


def gumbel(u):
    import numpy as np
    u = np.float32(u)
    eps = np.float32(1e-8)
    return float(-np.log(-np.log(u + eps) + eps))
