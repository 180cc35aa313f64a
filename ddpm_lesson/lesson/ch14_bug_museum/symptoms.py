"""What a person sees of a bug: samples of weights that were trained in good health, drawn by sick code."""

import functools
from typing import NamedTuple

import torch
from PIL import Image

from ddpm_lesson import checkpoint
from ddpm_lesson.lesson.ch14_bug_museum.exhibits.exhibit import GUIDANCE, Exhibit
from ddpm_lesson.lesson.ch14_bug_museum.probes.subjects import stopped
from ddpm_lesson.lesson.kit import images
from ddpm_lesson.sample import guided, steps

N, SIDE = 7, 56  # images a row, and pixels of each


class Scene(NamedTuple):
    """Two rows of pictures, or none where the sampler stopped, and why it did, wherever this package lies."""

    ddpm: list[Image.Image]
    ddim: list[Image.Image]
    error: str


@functools.cache
def scene(exhibit: Exhibit | None, asked: bool = False) -> Scene:
    """Samples of shipped weights in 10 steps, in the package with this bug or without any; drawn once.

    Args:
        exhibit: the bug.
        asked: whether a network with labels is asked for a 0, a 1 and so on, at scale 3; else one without draws digits.
    """
    if exhibit is None:
        return drawn(asked)
    with exhibit.infected():
        return drawn(asked)


def drawn(asked: bool) -> Scene:
    """The scene, in the package as it is now."""
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            d = checkpoint.load("digits_guided" if asked else "digits", "cpu").train()
            d = guided(d, torch.arange(N), 3.0) if asked else d
            shape, generators = (N, 1, 8, 8), [torch.Generator().manual_seed(0) for _ in range(2)]
            ddpm = steps.final_samples(steps.ddpm_steps(d, shape, generators[0], n_steps=10, sigma="posterior"))
            ddim = steps.final_samples(steps.ddim_steps(d, shape, 10, generator=generators[1]))
            return Scene(*([images.thumbnail(x, SIDE) for x in batch] for batch in (ddpm, ddim)), "")
    except Exception as error:  # whatever a bug leads to
        return Scene([], [], stopped(error))


def side_by_side(exhibit: Exhibit) -> tuple[Scene, Scene]:
    """The scene of an exhibit, and that of healthy code; in the room of guidance, both are asked for digits."""
    asked = exhibit.room == GUIDANCE
    return scene(exhibit, asked), scene(None, asked)


def looks_healthy(exhibit: Exhibit) -> bool:
    """Whether the pictures are, byte for byte, those of healthy code."""
    sick, healthy = ([image.tobytes() for image in (*s.ddpm, *s.ddim)] for s in side_by_side(exhibit))
    return sick == healthy
