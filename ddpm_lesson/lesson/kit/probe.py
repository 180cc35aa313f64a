"""One question for every look at a model: its loss on fixed images, noise and times."""

from typing import NamedTuple

import torch
from torch import Tensor

from ddpm_lesson.diffusion import DenoiseDiffusion
from ddpm_lesson.sample import eval_mode


def fresh_generator(seed: int = 0) -> torch.Generator:
    """A source of noise that no sample was drawn from, and that no network was trained on.

    Pictures and trainings take seeds from 0 on, judges those below. An image that DDIM drew from some noise is known
    to the network from that very noise: noised with it again, its loss comes out several times too low.

    Raises:
        ValueError: if the seed is negative.
    """
    if seed < 0:
        raise ValueError(f"seed must be 0 or more; got {seed}")
    return torch.Generator().manual_seed(-1 - seed)


def fresh_noise(like: Tensor, seed: int = 0) -> Tensor:
    """Noise to judge by, the shape of ``like``, see ``fresh_generator``."""
    return torch.randn(like.shape, generator=fresh_generator(seed)).to(like)


@torch.no_grad()
def image_losses(diffusion: DenoiseDiffusion, x0: Tensor, eps: Tensor, t: Tensor) -> Tensor:
    """The squared error of the noise, averaged over the values of each image: (B,). Dropout is off.

    Args:
        diffusion: the model.
        x0, eps: images in [-1, 1] and their noise, (B, C, H, W).
        t: times, (B,).
    """
    eps_theta = eval_mode(diffusion).eps_model(diffusion.q_sample(x0, t, eps), t)
    return (eps_theta - eps).square().flatten(1).mean(1)


class Probe(NamedTuple):
    """One question for every look at a run, so that its answers can be compared."""

    x0: Tensor  # (B, C, H, W)
    eps: Tensor  # (B, C, H, W)
    t: Tensor  # (B,), spread evenly over 0 .. T-1

    def loss(self, diffusion: DenoiseDiffusion) -> float:
        """L_simple on these images, with this noise, at these times."""
        return float(image_losses(diffusion, *(x.to(diffusion.device) for x in self)).mean())


def make_probe(images: Tensor, n_steps: int, seed: int = 0) -> Probe:
    """A probe from images (B, C, H, W) that the run does not train on; the i-th is asked at (i + 1/2) T / B."""
    eps = fresh_noise(images, seed)
    t = ((torch.arange(len(images)) + 0.5) * n_steps / len(images)).long()
    return Probe(images, eps, t)
