"""A watch over noise: what images are judged by must not be what they were drawn from."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from torch import Tensor

from ddpm_lesson import DenoiseDiffusion, diffusion
from ddpm_lesson.sample import inpaint, steps

Beginning = tuple[float, ...]


def beginnings(noise: Tensor) -> set[Beginning]:
    """The first numbers of every image: the same for one seed whatever the sizes, by chance for no two others."""
    return {tuple(row[:16].tolist()) for row in noise.detach().float().cpu().flatten(1)}


class Watch:
    """What samples were drawn from, and what q_sample was given."""

    def __init__(self):
        self.drawn: set[Beginning] = set()
        self.given: set[Beginning] = set()

    @property
    def leaks(self) -> set[Beginning]:
        """Noise that served for both."""
        return self.drawn & self.given


@contextmanager
def watched() -> Iterator[Watch]:
    """While this lasts, remember the noise of every sampler and of ``q_sample``."""
    watch, noise_like, q_sample = Watch(), diffusion.noise_like, DenoiseDiffusion.q_sample

    def draw(x, generator=None):
        noise = noise_like(x, generator)
        watch.drawn |= beginnings(noise)
        return noise

    def noised(self, x0, t, eps=None):
        watch.given |= set() if eps is None else beginnings(eps)
        return q_sample(self, x0, t, eps)

    with pytest.MonkeyPatch.context() as patch:
        for module in (diffusion, steps, inpaint):
            patch.setattr(module, "noise_like", draw)
        patch.setattr(DenoiseDiffusion, "q_sample", noised)
        yield watch
