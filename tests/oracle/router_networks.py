"""Networks of the routers' fixtures, as torch.nn.Sequential: what the reference code builds."""
import torch


def sequential(widths):
    """Linear layers between these widths, with SiLU between them: indices 0, 2, 4 ... are Linear."""
    layers = []
    for i in range(len(widths) - 1):
        layers.append(torch.nn.Linear(widths[i], widths[i + 1]))
        if i + 2 < len(widths):
            layers.append(torch.nn.SiLU())
    return torch.nn.Sequential(*layers)
