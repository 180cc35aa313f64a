"""What a person sees of a bug: samples of weights that were trained in good health, drawn by sick code."""

import functools
from typing import NamedTuple

import torch
from PIL import Image

from ddpm_lesson import checkpoint
from ddpm_lesson.doctor import stopped
from ddpm_lesson.lesson.ch14_bug_museum.exhibits import Exhibit
from ddpm_lesson.lesson.kit import images
from ddpm_lesson.sample import steps

N, SIDE = 7, 56  # images a row, and pixels of each


class Scene(NamedTuple):
    """Two rows of pictures, or none where the sampler stopped, and why it did."""

    ddpm: list[Image.Image]
    ddim: list[Image.Image]
    error: str


@functools.cache
def scene(exhibit: Exhibit | None) -> Scene:
    """Samples of the shipped digits in 10 steps, in the package with this bug or without any; drawn once."""
    if exhibit is None:
        return drawn()
    with exhibit.infected():
        return drawn()


def drawn() -> Scene:
    """The scene, in the package as it is now."""
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            d = checkpoint.load("digits", "cpu").train()
            shape, generators = (N, 1, 8, 8), [torch.Generator().manual_seed(0) for _ in range(2)]
            ddpm = steps.final_samples(steps.ddpm_steps(d, shape, generators[0], n_steps=10, sigma="posterior"))
            ddim = steps.final_samples(steps.ddim_steps(d, shape, 10, generator=generators[1]))
            return Scene(*([images.thumbnail(x, SIDE) for x in batch] for batch in (ddpm, ddim)), "")
    except Exception as error:  # whatever a bug leads to
        return Scene([], [], stopped(error))


def looks_healthy(exhibit: Exhibit) -> bool:
    """Whether the pictures are, byte for byte, those of healthy code."""
    one, other = scene(exhibit), scene(None)
    pixels = [[image.tobytes() for image in (*s.ddpm, *s.ddim)] for s in (one, other)]
    return pixels[0] == pixels[1]
