"""What a step is about: images, noise, times and labels, all drawn from the seed of the run."""

import contextlib
import functools
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from ddpm_lesson.data import ImageDataset
from ddpm_lesson.diffusion import DenoiseDiffusion
from ddpm_lesson.train.presets import TrainConfig


class Batch(NamedTuple):
    """What the network is asked about in one step: images, their noise and their times."""

    x0: Tensor  # (B, C, H, W)
    eps: Tensor  # (B, C, H, W)
    t: Tensor  # (B,)
    class_labels: Tensor | None = None  # (B,), n_classes where the label is left out


def part_of(batch: Batch, part: slice) -> Batch:
    """Some images of a batch, with their noise, times and labels."""
    labels = None if batch.class_labels is None else batch.class_labels[part]
    return Batch(batch.x0[part], batch.eps[part], batch.t[part], labels)


def draw_batch(dataset: ImageDataset, config: TrainConfig, step: int, diffusion: DenoiseDiffusion) -> Batch:
    """The whole batch of a step, the same in every process (Ho et al. 2020, Algorithm 1, lines 2 to 4)."""
    chosen = next_indices(dataset, config, step)
    x0 = to_device(dataset[chosen], diffusion.device)
    if config.flip:
        x0 = random_flip(x0)
    if config.prediction == "flow":
        t = torch.rand(len(x0), device=x0.device)
    else:
        t = torch.randint(config.n_steps, (len(x0),), device=x0.device)
    return Batch(x0, torch.randn_like(x0), t, draw_labels(dataset, config, chosen, x0.device))


def draw_labels(dataset: ImageDataset, config: TrainConfig, chosen: Tensor, device: torch.device) -> Tensor | None:
    """The labels of a batch, some of them left out (Ho and Salimans 2022, Algorithm 1); None for a model without."""
    if config.n_classes is None or dataset.labels is None:
        return None
    labels = to_device(dataset.labels[chosen], device)
    left_out = torch.rand(len(labels), device=device) < config.label_dropout
    return labels.masked_fill(left_out, config.n_classes)


def check_labels(config: TrainConfig, dataset: ImageDataset) -> None:
    """Raise a ValueError if the model wants labels that the images have not."""
    if config.n_classes is None:
        return
    if dataset.labels is None:
        raise ValueError(
            f"n_classes must be left out for images without labels, as in {config.data!r}; got {config.n_classes}"
        )
    if (found := int(dataset.labels.max()) + 1) > config.n_classes:
        raise ValueError(f"n_classes must be at least {found}, as many as {config.data!r} has; got {config.n_classes}")


def next_indices(dataset: ImageDataset, config: TrainConfig, step: int) -> Tensor:
    """The images of the batch of a step: every epoch visits each at most once, in an order that its seed decides."""
    size = min(config.batch_size, len(dataset))
    epoch, i = divmod(step, len(dataset) // size)
    order = shuffled(len(dataset), combine_seeds(config.seed, epoch), dataset.images.device)
    return order[i * size : (i + 1) * size]


@functools.lru_cache(maxsize=2)  # an epoch needs it in every step
def shuffled(n: int, seed: int, device: torch.device) -> Tensor:
    """The numbers 0 .. n-1 in an order that ``seed`` decides, the same on every device."""
    return torch.randperm(n, generator=torch.Generator().manual_seed(seed)).to(device)


def to_device(x: Tensor, device: torch.device) -> Tensor:
    """``x`` on ``device``; the way to a GPU leads through pinned memory, so that nobody waits for the copy."""
    if x.device.type == device.type or device.type != "cuda":
        return x.to(device)
    return x.pin_memory().to(device, non_blocking=True)


def random_flip(x: Tensor) -> Tensor:
    """Mirror each image of a batch (B, C, H, W) left to right with probability one half."""
    flip = torch.rand(len(x), 1, 1, 1, device=x.device) < 0.5
    return torch.where(flip, x.flip(-1), x)


def combine_seeds(seed: int, index: int) -> int:
    """One seed for each step (or epoch) of a run; runs of different seeds share none for a million steps."""
    return seed * 1_000_003 + index


@contextlib.contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Random numbers that follow from ``seed``; the caller's random state, on the CPU and ``device``, is kept."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield
