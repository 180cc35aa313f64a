"""What claims measure: the MNIST network that comes with the lesson, and digits for it."""

from functools import lru_cache

import torch
from torch import Tensor

from ddpm_lesson import checkpoint
from ddpm_lesson.data import load_images
from ddpm_lesson.diffusion import DenoiseDiffusion
from ddpm_lesson.sample import eval_mode, sample

REAL = 3  # the seed that stands for test digits of MNIST
DIGITS = (0, 1, 2, REAL)


@lru_cache
def network() -> DenoiseDiffusion:
    """The MNIST network that comes with the lesson, dropout off."""
    return eval_mode(checkpoint.load("mnist", "cpu"))


@lru_cache
def digits(seed: int, n: int = 24, n_steps: int = 20) -> Tensor:
    """Digits that the network has drawn in some steps of DDIM, or test digits of MNIST for ``REAL``: (n, 1, 28, 28)."""
    if seed == REAL:
        return load_images("mnist", "test")[:n]
    return sample(network(), (n, 1, 28, 28), n_steps, torch.Generator().manual_seed(seed)).clamp(-1, 1)
