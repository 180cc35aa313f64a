"""Probes: are numbers where they belong?"""

import torch

from ddpm_lesson import data
from ddpm_lesson.doctor import Finding
from ddpm_lesson.lesson.ch14_bug_museum.probes.subjects import randn, short


def range_of_data(seed: int = 0) -> Finding:
    """Where do bytes end up?"""
    x = data.from_bytes(torch.arange(256, dtype=torch.uint8))
    return Finding((x.min(), x.max()) == (-1, 1), f"the data lies in {x.min():g} .. {x.max():g}, for -1 .. 1")


def way_back(seed: int = 0) -> Finding:
    """Do values become the bytes that they stand for?"""
    found = data.to_bytes(torch.linspace(-1, 1, 256))
    return Finding(found.tolist() == list(range(256)), f"middle grey comes out as byte {int(found[128])}, for 128")


def range_of_estimate(seed: int = 0) -> Finding:
    """Are estimates at the end of the chain finite, and in [-1, 1]?"""
    xt, t = randn(seed, 8, 1, 4, 4), torch.full((8,), 19)
    free, clipped = (short(clip_x0=clip).denoise(xt, t) for clip in (False, True))
    if not free.isfinite().all():
        return Finding(False, "x0_hat at the end of the chain is not finite")
    return Finding(clipped.abs().max() <= 1, f"x0_hat reaches {clipped.abs().max():.2g}, for at most 1")
