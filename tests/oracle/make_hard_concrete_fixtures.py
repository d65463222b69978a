#!/usr/bin/env python3
"""Fixtures of the hard-concrete gate, from PyTorch's autograd.

    python3 tests/oracle/make_hard_concrete_fixtures.py     (Debian: python3-torch, python3-numpy)

Writes tests/fixtures/hard_concrete/<case>.safetensors for PruLong's constants and for uneven ones:
log-alphas, the sampled value of every (document, kv head) with the noise of philox.py, the value
without noise, and the gradient of sum(c * value) with respect to the log-alphas. Written from the
formulas of Louizos, Welling and Kingma (2018), section 3, in float64.
"""
import os

import torch

from philox import gate_uniform
from safetensors_file import write_safetensors

OUT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "fixtures", "hard_concrete")
KEYS = [11, 12, 500, 70000, 4000000000, 3]
SEED, STEP, LAYER, FIRST_HEAD = 0x1234567890, 42, 7, 2
LOG_ALPHA = [4.0, 0.3, -2.5, 0.0, 1.25, -0.75, 9.0, -9.0]
CASES = {"prulong": (2.0 / 3.0, -0.1, 1.1), "uneven": (0.4, -0.3, 1.05)}
EPS = 1e-8
torch.set_default_dtype(torch.float64)


def value(log_alpha, logistic, beta, gamma, zeta):
    concrete = torch.sigmoid((log_alpha + logistic) / beta)
    return torch.clamp(concrete * (zeta - gamma) + gamma, 0.0, 1.0)


def main():
    os.makedirs(OUT, exist_ok=True)
    uniform = torch.tensor([[gate_uniform(SEED, STEP, key, LAYER, FIRST_HEAD + h, 0)
                             for h in range(len(LOG_ALPHA))] for key in KEYS])
    logistic = torch.log(uniform + EPS) - torch.log(1 - uniform + EPS)
    for name, (beta, gamma, zeta) in CASES.items():
        log_alpha = torch.tensor(LOG_ALPHA, requires_grad=True)
        sampled = value(log_alpha, logistic, beta, gamma, zeta)
        c = torch.cos(torch.arange(sampled.numel(), dtype=torch.float64)).view_as(sampled)
        (sampled * c).sum().backward()
        write_safetensors(os.path.join(OUT, name + ".safetensors"), {
            "settings": torch.tensor([SEED, STEP, LAYER, FIRST_HEAD, beta, gamma, zeta]),
            "sample_keys": torch.tensor(KEYS, dtype=torch.float64),
            "log_alpha": log_alpha, "sampled": sampled, "c": c, "d_log_alpha": log_alpha.grad,
            "decided": value(log_alpha, torch.zeros(()), beta, gamma, zeta)})
        clamped = ((sampled == 0) | (sampled == 1)).double().mean().item()
        print(f"{name}: {clamped:.2f} of the values are clamped")


if __name__ == "__main__":
    main()
