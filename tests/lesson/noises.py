"""A watch over noise: nothing is judged by the noise that it was drawn from, or that the network was trained on."""

import functools
import inspect
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import Tensor, nn

from ddpm_lesson import DenoiseDiffusion, diffusion, flow
from ddpm_lesson.data import to_bytes
from ddpm_lesson.sample import inpaint, steps

Beginning = tuple[float, ...]
ENOUGH = 8  # numbers: fewer agree by chance


def beginnings(noise: Tensor) -> list[Beginning]:
    """The first numbers of every image, or of a whole batch of points: for one seed the same, whatever the sizes."""
    rows = noise.detach().float().cpu().reshape(len(noise), -1)
    rows = rows if rows.shape[1] >= ENOUGH else rows.reshape(1, -1)
    return [tuple(row[:16].tolist()) for row in rows if len(row) >= ENOUGH]


def contents(images: Tensor) -> list[bytes]:
    """What tells an image from others, also once it was rounded to bytes."""
    return [row.numpy().tobytes() for row in to_bytes(images.detach().float().cpu())]


class Watch:
    """Noise by what it served for."""

    def __init__(self):
        self.drawn: dict[Beginning, int] = {}  # by samplers, in this order
        self.made: dict[bytes, int] = {}  # images that networks made, and how much had been drawn by then
        self.trained: set[Beginning] = set()  # on which
        self.judged: set[Beginning] = set()  # that q_sample was given elsewhere
        self.leaks: set[Beginning] = set()  # that was put on what had been made from it

    def draw(self, noise: Tensor) -> None:
        """A sampler draws."""
        for beginning in beginnings(noise):
            self.drawn.setdefault(beginning, len(self.drawn))

    def make(self, images: Tensor) -> None:
        """A network says what it sees behind the noise."""
        for content in contents(images):
            self.made.setdefault(content, len(self.drawn))

    def give(self, x0: Tensor, eps: Tensor, training: bool) -> None:
        """``q_sample`` puts noise on images."""
        noises = beginnings(eps)
        (self.trained if training else self.judged).update(noises)
        if len(noises) == len(x0):
            pairs = zip(noises, contents(x0), strict=True)
            self.leaks |= {eps for eps, x in pairs if self.drawn.get(eps, torch.inf) < self.made.get(x, 0)}


@contextmanager
def watched() -> Iterator[Watch]:
    """While this lasts, remember the noise of every sampler and of ``q_sample``, and what networks make."""
    watch, noise_like = Watch(), diffusion.noise_like
    q_sample, denoise = DenoiseDiffusion.q_sample, DenoiseDiffusion.denoise

    def draw(x, generator=None):
        noise = noise_like(x, generator)
        watch.draw(noise)
        return noise

    def noised(self, x0, t, eps=None):
        if eps is not None:
            asked_by = inspect.currentframe().f_back.f_code.co_name  # a loss may itself be a replaced one
            network = self.eps_model
            learns = torch.is_grad_enabled() and isinstance(network, nn.Module) and network.training
            learns = learns and any(p.requires_grad for p in network.parameters())
            watch.give(x0, eps, training=asked_by == "loss" and learns)
        return q_sample(self, x0, t, eps)

    def denoised(self, xt, t):
        x0_hat = denoise(self, xt, t)
        watch.make(x0_hat)
        return x0_hat

    with pytest.MonkeyPatch.context() as patch:
        for module in (diffusion, steps, inpaint, flow):
            patch.setattr(module, "noise_like", draw)
        for name, watching in (("q_sample", noised), ("denoise", denoised)):
            original = getattr(DenoiseDiffusion, name)
            patch.setattr(DenoiseDiffusion, name, functools.wraps(original)(watching))  # whose source is still found
        yield watch
