"""What probes ask their questions about: short chains, networks that are known, and plain numbers."""

import os
from collections.abc import Callable

import torch
from torch import Tensor, nn

from ddpm_lesson import diffusion, doctor, schedule
from ddpm_lesson.doctor import Finding
from ddpm_lesson.lesson.kit.probe import fresh_generator
from ddpm_lesson.runtime import assets_folder
from ddpm_lesson.unet import model

Probe = Callable[[int], Finding]
SHORT = {"n_steps": 20, "beta_start": 0.02, "beta_end": 0.4}


class Says(nn.Module):
    """A network that says a multiple of x_t, and remembers the times that it was told."""

    def __init__(self, share: float = 0.0):
        super().__init__()
        self.share, self.told = share, []

    def forward(self, xt: Tensor, t: Tensor) -> Tensor:
        """The share of ``xt`` (B, ...)."""
        self.told.append(t.tolist())
        return self.share * xt


class Knows(nn.Module):
    """A network that says noise which it was given."""

    def __init__(self, eps: Tensor):
        super().__init__()
        self.eps = eps

    def forward(self, xt: Tensor, t: Tensor) -> Tensor:
        """The noise."""
        return self.eps


def randn(seed: int, *shape: int) -> Tensor:
    """Fresh noise."""
    return torch.randn(shape, generator=fresh_generator(seed))


def short(network: nn.Module | None = None, **settings: object) -> diffusion.DenoiseDiffusion:
    """A chain of 20 steps."""
    chain = schedule.NoiseSchedule.linear(**SHORT)
    return diffusion.DenoiseDiffusion(network or Says(), schedule=chain, **settings)


def plain(n_steps: int, beta_start: float, beta_end: float) -> tuple[list[float], list[float]]:
    """beta and alpha_bar of the linear schedule, in plain numbers."""
    beta = [beta_start + (beta_end - beta_start) * i / (n_steps - 1) for i in range(n_steps)]
    alpha_bar, product = [], 1.0
    for b in beta:
        product *= 1 - b
        alpha_bar.append(product)
    return beta, alpha_bar


def small_unet(seed: int, **changes: object) -> model.UNet:
    """A tiny U-Net of which every weight is shaken, so that no branch is silent."""
    settings = {"n_blocks": 1, "n_groups": 4, "dropout": 0.5} | changes
    generator = fresh_generator(seed)
    network = model.UNet(1, 8, (1, 2), (False, True), **settings)
    with torch.no_grad():
        for p in network.parameters():
            p.copy_(0.2 * torch.randn(p.shape, generator=generator) + (p.ndim == 1))
    return network.eval()


def stopped(error: Exception) -> str:
    """An error as a sentence, which is the same wherever this package lies."""
    return doctor.stopped(error).replace(f"{assets_folder()}{os.sep}", "")


def within(off: float, sick: str, healthy: str) -> Finding:
    """A finding about what should be 0 but for rounding, of which a healthy sentence says nothing."""
    return Finding(off < 1e-3, healthy if off < 1e-3 else sick)
