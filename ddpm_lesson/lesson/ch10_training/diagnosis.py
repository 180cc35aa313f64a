"""Training runs that are ill on purpose, small enough to watch: what a mistake looks like from outside."""

from contextlib import nullcontext
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from ddpm_lesson.data import load_images
from ddpm_lesson.lesson.kit.infection import replaced
from ddpm_lesson.lesson.kit.probe import make_probe
from ddpm_lesson.sample import ddim_steps, final_samples
from ddpm_lesson.train import PRESETS, TrainConfig, TrainState, train

SMALL = replace(  # a network that learns something in seconds
    PRESETS["digits"], n_channels=16, batch_size=24, train_steps=60, warmup_steps=6, cooldown_steps=0, ema_decay=0.9
)


class Course(NamedTuple):
    """What can be seen of a run without knowing what is wrong with it."""

    losses: list[float]  # of every step
    grad_norms: list[float]  # of every step, before clipping
    probe: float  # loss of the weights on images that were held out
    probe_ema: float  # loss of their average
    lowest: float  # of the training data
    samples: Tensor  # (N, C, H, W), by the average


ILLNESSES = {  # settings that the healthy run has not; and a function of the package, and an edit of its source
    "healthy": ({},),
    "learning rate 100 times too high": ({"lr": 0.2, "warmup_steps": 0},),
    "learning rate 100 times too low": ({"lr": 2e-5},),
    "data in [0, 1]": ({}, "data:ImageDataset.__getitem__", "index])", "index]) / 2 + 0.5"),
    "average without warm-up": ({}, "train.loop:average_with_warmup", "fn(d)", "fn(0.9999)"),  # the paper's decay
    "one t for the whole batch": ({}, "train.batches:draw_batch", "(x0), t,", "(x0), t[:1].expand(len(t)),"),
    "network guesses the image": ({}, "diffusion:DenoiseDiffusion.loss", "self.target(x0, eps, t)", "x0"),
}


def course_of(illness: str, config: TrainConfig = SMALL, n_samples: int = 8, sample_steps: int = 20) -> Course:
    """Train on the CPU with one thing wrong, one of ``ILLNESSES``, and look; draw samples with so many steps of DDIM.

    Raises:
        ValueError: if the illness is not known.
    """
    if illness not in ILLNESSES:
        raise ValueError(f"illness must be one of {', '.join(ILLNESSES)}; got {illness!r}")
    settings, *edit = ILLNESSES[illness]
    with replaced(edit[0], tuple(edit[1:])) if edit else nullcontext():
        dataset, test = load_images(config.data), load_images(config.data, "test")
        state = TrainState(replace(config, **settings), dataset.shape, "cpu")
        losses, norms = zip(*((float(step.loss), float(step.grad_norm)) for step in train(state, dataset)), strict=True)
        probe, averaged = make_probe(test[:128], config.n_steps), state.averaged()
        generator = torch.Generator().manual_seed(0)
        samples = final_samples(ddim_steps(averaged, (n_samples, *dataset.shape), sample_steps, generator=generator))
        asked = probe.loss(state.diffusion), probe.loss(averaged)
        return Course([*losses], [*norms], *asked, float(dataset[:].min()), samples)


def in_words(course: Course) -> str:
    """What can be read off a run, in five lines."""
    return (
        f"gradient norm: most {max(course.grad_norms):.2g}, last {course.grad_norms[-1]:.2g}\n"
        f"held-out loss, weights: {course.probe:.2f}\n"
        f"held-out loss, average: {course.probe_ema:.2f}\n"
        f"darkest pixel of the data: {course.lowest:.0f}\n"
        f"mean of the samples: {float(course.samples.mean()):.2f}"
    )
