"""Training runs that are ill on purpose, small enough to watch: what a mistake looks like from outside."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from ddpm_lesson.data import ImageDataset, load_images
from ddpm_lesson.diffusion import DenoiseDiffusion
from ddpm_lesson.lesson.kit.probe import make_probe
from ddpm_lesson.sample import ddim_steps
from ddpm_lesson.train.loop import TrainState, train
from ddpm_lesson.train.presets import PRESETS, TrainConfig

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


class Zeroes(ImageDataset):
    """Images in [0, 1] where [-1, 1] belongs."""

    def __getitem__(self, index: int | slice | Tensor) -> Tensor:
        return super().__getitem__(index) / 2 + 0.5


class SameTime(DenoiseDiffusion):
    """One t for the whole batch."""

    def loss(self, x0: Tensor, noise: Any = None, t: Any = None, *others: Any, **options: Any) -> Tensor:
        """L_simple with the first time for all images."""
        return super().loss(x0, noise, t[:1].expand(len(x0)), *others, **options)


class GuessesImage(DenoiseDiffusion):
    """Trained to put out x0 and sampled as if that were eps."""

    def loss(self, x0: Tensor, noise: Any = None, t: Any = None, *others: Any, **options: Any) -> Tensor:
        """The squared error of the image."""
        return (self.eps_model(self.q_sample(x0, t, noise), t) - x0).square().mean()


Infection = Callable[[TrainState], None]


def trained_as(kind: type[DenoiseDiffusion]) -> Infection:
    """Give the run another loss."""

    def infect(state: TrainState) -> None:
        state.diffusion = kind(state.diffusion.eps_model, schedule=state.diffusion.schedule)

    return infect


def without_warm_up(state: TrainState) -> None:
    """Average with the paper's 0.9999 from the first step on."""
    state.ema = AveragedModel(state.diffusion.eps_model, multi_avg_fn=get_ema_multi_avg_fn(0.9999))


class Illness(NamedTuple):
    """What is wrong with a run."""

    settings: Mapping[str, float] = MappingProxyType({})  # that differ from the healthy run's
    infect: Infection = lambda state: None
    data: type[ImageDataset] = ImageDataset


ILLNESSES = {
    "healthy": Illness(),
    "learning rate 100 times too high": Illness({"lr": 0.2, "warmup_steps": 0}),
    "learning rate 100 times too low": Illness({"lr": 2e-5}),
    "data in [0, 1]": Illness(data=Zeroes),
    "average without warm-up": Illness(infect=without_warm_up),
    "one t for the whole batch": Illness(infect=trained_as(SameTime)),
    "network guesses the image": Illness(infect=trained_as(GuessesImage)),
}


def course_of(illness: str, config: TrainConfig = SMALL, n_samples: int = 8, sample_steps: int = 20) -> Course:
    """Train with one thing wrong, on the CPU, and look.

    Args:
        illness: one of ``ILLNESSES``, ``"healthy"`` among them.
        config: the healthy run.
        n_samples, sample_steps: how many images to draw, with how many steps of DDIM.

    Raises:
        ValueError: if the illness is not known.
    """
    if illness not in ILLNESSES:
        raise ValueError(f"illness must be one of {', '.join(ILLNESSES)}; got {illness!r}")
    settings, infect, data = ILLNESSES[illness]
    dataset, test = load_images(config.data), load_images(config.data, "test")
    dataset = data(dataset.images)
    state = TrainState(replace(config, **settings), dataset.shape, "cpu")
    infect(state)
    steps = [(float(step.loss), float(step.grad_norm)) for step in train(state, dataset)]
    probe = make_probe(data(test.images)[:128], config.n_steps)
    averaged = state.averaged()
    generator = torch.Generator().manual_seed(0)
    for step in ddim_steps(averaged, (n_samples, *dataset.shape), sample_steps, generator=generator):
        samples = step.x0_hat
    losses, norms = map(list, zip(*steps, strict=True))
    lowest = float(dataset[:].min())
    return Course(losses, norms, probe.loss(state.diffusion), probe.loss(averaged), lowest, samples)


def in_words(course: Course) -> str:
    """What can be read off a run, in five lines."""
    return (
        f"gradient norm: most {max(course.grad_norms):.2g}, last {course.grad_norms[-1]:.2g}\n"
        f"held-out loss, weights: {course.probe:.2f}\n"
        f"held-out loss, average: {course.probe_ema:.2f}\n"
        f"darkest pixel of the data: {course.lowest:.0f}\n"
        f"mean of the samples: {float(course.samples.mean()):.2f}"
    )
