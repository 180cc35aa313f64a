"""Training: presets, the average of the weights, and the loop as a generator of steps."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from ddpm_lesson.data import DATASETS, ImageDataset, nearest
from ddpm_lesson.diffusion import DenoiseDiffusion
from ddpm_lesson.runtime import get_device
from ddpm_lesson.unet import UNet


@dataclass(frozen=True)
class TrainConfig:
    """Every setting of a training run. ``PRESETS`` holds one for each data set."""

    data: str = "digits"  # data set or folder of images, see load_images
    image_size: int | None = None  # pixels a side; the data set's own unless given

    n_channels: int = 128  # base width of the U-Net
    ch_mults: tuple[int, ...] = (1, 2, 2, 2)  # width of each level, times the base width
    is_attn: tuple[bool, ...] = (False, True, False, False)  # which levels have attention
    n_blocks: int = 2  # blocks a level
    n_heads: int = 1  # attention heads
    n_groups: int = 32  # groups of the group normalisation
    dropout: float = 0.1  # inside the residual blocks

    n_steps: int = 1000  # T, diffusion steps
    schedule: str = "linear"  # linear, cosine, quadratic or sigmoid
    sigma: str = "beta"  # variance of the reverse step: beta or posterior
    clip_x0: bool = True  # clip the estimate of x0 to [-1, 1]

    train_steps: int = 800_000  # optimiser steps
    batch_size: int = 128  # images a step
    lr: float = 2e-4  # Adam's learning rate after warm-up
    warmup_steps: int = 5_000  # steps over which the learning rate rises to lr
    grad_clip: float = 1.0  # largest norm of the gradient
    ema_decay: float = 0.9999  # of the average of the weights, once warmed up
    flip: bool = False  # mirror every other image left to right
    mixed_precision: str = "no"  # no, bf16 or fp16
    seed: int = 0  # of weights, batches, times and noise

    save_every: int = 5_000  # steps between checkpoints
    sample_every: int = 20_000  # steps between sample grids
    n_samples: int = 64  # images in a sample grid
    sample_steps: int | None = None  # DDIM steps for the grids; all T steps of DDPM unless given

    def __post_init__(self):
        for name in ("ch_mults", "is_attn"):
            object.__setattr__(self, name, tuple(getattr(self, name)))  # JSON has lists only
        for name in ("n_steps", "train_steps", "batch_size", "save_every", "sample_every", "n_samples"):
            self._check(name, is_whole(getattr(self, name), at_least=1), "a whole number of at least 1")
        for name in ("image_size", "sample_steps"):
            value = getattr(self, name)
            self._check(name, value is None or is_whole(value, at_least=1), "a whole number of at least 1")
        self._check("sample_steps", (self.sample_steps or 1) <= self.n_steps, f"at most n_steps, {self.n_steps}")
        self._check("warmup_steps", is_whole(self.warmup_steps, at_least=0), "a whole number of at least 0")
        self._check("seed", is_whole(self.seed, at_least=0) and self.seed < 2**32, "a whole number in 0 .. 2**32 - 1")
        for name in ("lr", "grad_clip"):
            self._check(name, 0 < getattr(self, name) < float("inf"), "above 0")
        self._check("ema_decay", 0 <= self.ema_decay < 1, "in [0, 1)")
        self._check("mixed_precision", self.mixed_precision in ("no", "bf16", "fp16"), "no, bf16 or fp16")

    def _check(self, name: str, good: bool, right: str) -> None:
        if not good:
            raise ValueError(f"{name} must be {right}; got {getattr(self, name)!r}")


def is_whole(value: Any, at_least: int) -> bool:
    """Whether ``value`` is an integer of at least ``at_least``."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= at_least


PRESETS = {
    # scikit-learn's 8 x 8 digits: under a minute on a laptop's CPU
    "digits": TrainConfig(
        data="digits",
        n_channels=32,
        ch_mults=(1, 2),
        is_attn=(False, True),
        n_blocks=1,
        n_groups=8,
        dropout=0.0,
        train_steps=300,
        lr=2e-3,
        warmup_steps=20,
        ema_decay=0.98,
        save_every=100,
        sample_every=10_000,
        sample_steps=50,
    ),
    # 28 x 28 handwriting: an evening on a CPU, minutes on a GPU
    "mnist": TrainConfig(
        data="mnist",
        n_channels=24,
        ch_mults=(1, 2, 4),
        is_attn=(False, False, True),
        n_blocks=1,
        n_groups=8,
        dropout=0.0,
        train_steps=14_000,
        batch_size=32,
        lr=1e-3,
        warmup_steps=200,
        ema_decay=0.9995,
        save_every=250,
        sample_every=2_000,
        sample_steps=50,
    ),
    # 28 x 28 clothes: the same network; a shirt looks the same mirrored
    "fashion": TrainConfig(
        data="fashion",
        n_channels=24,
        ch_mults=(1, 2, 4),
        is_attn=(False, False, True),
        n_blocks=1,
        n_groups=8,
        dropout=0.0,
        train_steps=14_000,
        batch_size=32,
        lr=1e-3,
        warmup_steps=200,
        ema_decay=0.9995,
        flip=True,
        save_every=250,
        sample_every=2_000,
        sample_steps=50,
    ),
    # the paper's CIFAR-10 setting (Ho et al. 2020, Appendix B): days on one GPU
    "cifar10": TrainConfig(data="cifar10", flip=True),
}


def get_preset(name: str, **overrides: Any) -> TrainConfig:
    """The preset called ``name``, with any field replaced.

    Raises:
        ValueError: if there is no such preset or field, or a value is out of range.
    """
    if name not in PRESETS:
        near = nearest(name, list(PRESETS))
        raise ValueError(f"no preset called {name!r}{near}; the presets are {', '.join(PRESETS)}")
    known = [f.name for f in fields(TrainConfig)]
    for field in overrides:
        if field not in known:
            raise ValueError(f"a training run has no setting {field!r}{nearest(field, known)}")
    return replace(PRESETS[name], **overrides)


def build_diffusion(config: TrainConfig, image_channels: int) -> DenoiseDiffusion:
    """An untrained model with the architecture and the diffusion settings of ``config``."""
    model = UNet(
        image_channels,
        config.n_channels,
        config.ch_mults,
        config.is_attn,
        config.n_blocks,
        n_heads=config.n_heads,
        n_groups=config.n_groups,
        dropout=config.dropout,
    )
    return DenoiseDiffusion(model, config.n_steps, schedule=config.schedule, sigma=config.sigma, clip_x0=config.clip_x0)


class TrainState:
    """Everything that training changes: weights, their average, the optimiser's moments, the step.

    Args:
        config: settings of the run; its seed decides the first weights.
        image_shape: (C, H, W) of the images.
        device: where to train, see ``get_device``.

    Attributes:
        diffusion: the model being trained.
        ema: running average of ``diffusion.eps_model`` (``torch.optim.swa_utils.AveragedModel``).
        optimizer: Adam.
        scaler: state of the gradient scaler, for ``mixed_precision="fp16"`` only.
        step: optimiser steps taken.

    Raises:
        ValueError: if the settings do not make a model, or the device or its precision is not there.
    """

    def __init__(self, config: TrainConfig, image_shape: tuple[int, int, int], device: str | torch.device = "auto"):
        device = get_device(device)
        if config.mixed_precision == "fp16" and device.type == "cpu":
            raise ValueError("mixed_precision must be no or bf16 on the CPU; got 'fp16', which needs a GPU")
        self.config = config
        self.image_shape = tuple(image_shape)
        with seeded(config.seed, device):
            self.diffusion = build_diffusion(config, image_shape[0]).to(device)
        self.ema = AveragedModel(self.diffusion.eps_model, multi_avg_fn=average_with_warmup(config.ema_decay))
        self.optimizer = torch.optim.Adam(self.diffusion.eps_model.parameters(), lr=config.lr)
        self.scaler: dict[str, Any] = {}
        self.step = 0

    def averaged(self) -> DenoiseDiffusion:
        """The model to sample from: the same diffusion with the averaged weights, sharing their memory."""
        d = self.diffusion
        averaged = DenoiseDiffusion(self.ema.module, schedule=d.schedule, sigma=d.sigma, clip_x0=d.clip_x0)
        return averaged.to(d.device).eval()


def average_with_warmup(decay: float) -> Callable[[list[Tensor], list[Tensor], Tensor], None]:
    """An averaging rule for ``AveragedModel``: ema <- d * ema + (1 - d) * weights, with d growing to ``decay``.

    A fixed decay of 0.9999 would remember the random first weights for ten thousand steps, so the n-th update uses
    d = min(decay, (1 + n) / (10 + n)).
    """

    def average(ema: list[Tensor], weights: list[Tensor], n: Tensor) -> None:
        d = min(decay, (1 + int(n)) / (10 + int(n)))
        get_ema_multi_avg_fn(d)(ema, weights, n)

    return average


class TrainStep(NamedTuple):
    """What one optimiser step did. The tensors are scalars on the device; reading one waits for the device."""

    step: int  # optimiser steps taken so far, from 1
    loss: Tensor  # L_simple of this batch
    grad_norm: Tensor  # norm of the gradient before clipping
    lr: float  # learning rate of this step


def train(state: TrainState, dataset: ImageDataset) -> Iterator[TrainStep]:
    """Train until ``config.train_steps`` steps are taken; stop earlier by not asking for more.

    Ho et al. 2020, Algorithm 1. Every step draws its batch, times and noise from its own seed, so a run that is
    resumed from step k takes the same steps as one that was never stopped.

    Args:
        state: what is trained; changed in place.
        dataset: images in [-1, 1].

    Yields:
        A ``TrainStep`` after every optimiser step.
    """
    config, diffusion = state.config, state.diffusion
    accelerator = start_accelerator(config.mixed_precision, diffusion.device)
    optimizer = accelerator.prepare(state.optimizer)
    if accelerator.scaler and state.scaler:
        accelerator.scaler.load_state_dict(state.scaler)

    while state.step < config.train_steps:
        lr = learning_rate(config, state.step)
        for group in state.optimizer.param_groups:
            group["lr"] = lr

        diffusion.train()
        x0 = next_batch(dataset, config, state.step).to(diffusion.device)  # (B, C, H, W)
        with seeded(combine_seeds(config.seed, state.step), diffusion.device):
            if config.flip:
                x0 = random_flip(x0)
            with accelerator.autocast():
                loss = diffusion.loss(x0)
        accelerator.backward(loss)
        grad_norm = accelerator.clip_grad_norm_(diffusion.eps_model.parameters(), config.grad_clip)
        optimizer.step()
        optimizer.zero_grad()

        state.ema.update_parameters(diffusion.eps_model)
        state.scaler = accelerator.scaler.state_dict() if accelerator.scaler else {}
        state.step += 1
        yield TrainStep(state.step, loss.detach(), grad_norm, lr)


def learning_rate(config: TrainConfig, step: int) -> float:
    """Learning rate of a step: a linear rise over ``warmup_steps``, then constant."""
    return config.lr * min(1.0, (step + 1) / max(1, config.warmup_steps))


def next_batch(dataset: ImageDataset, config: TrainConfig, step: int) -> Tensor:
    """The batch of a step: every epoch visits the images once, in an order that its seed decides."""
    size = min(config.batch_size, len(dataset))
    epoch, i = divmod(step, len(dataset) // size)
    generator = torch.Generator().manual_seed(combine_seeds(config.seed, epoch))
    order = torch.randperm(len(dataset), generator=generator)
    return dataset[order[i * size : (i + 1) * size]]


def random_flip(x: Tensor) -> Tensor:
    """Mirror each image of a batch (B, C, H, W) left to right with probability one half."""
    flip = torch.rand(len(x), 1, 1, 1, device=x.device) < 0.5
    return torch.where(flip, x.flip(-1), x)


def combine_seeds(seed: int, index: int) -> int:
    """One seed for each step (or epoch) of a run; runs of different seeds share none for a million steps."""
    return seed * 1_000_003 + index


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Random numbers that follow from ``seed``; the caller's own random state is left alone (on the CPU and CUDA)."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


def start_accelerator(mixed_precision: str, device: torch.device):
    """An ``accelerate.Accelerator`` for this device and precision, whatever an earlier run in this process used."""
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState

    AcceleratorState._reset_state(reset_partial_state=True)
    return Accelerator(mixed_precision=mixed_precision, cpu=device.type == "cpu")


def seconds_per_image(config: TrainConfig, device: str | torch.device = "auto", at_least: float = 0.3) -> float:
    """How long training takes here for each image, measured: forward and backward pass on made-up images.

    The batch is doubled until it takes ``at_least`` seconds or is as large as ``config.batch_size``.

    Args:
        config: what would be trained; its ``data`` must be a known data set.
        device: see ``get_device``.
        at_least: seconds that the measurement should last.
    """
    device = get_device(device)
    shape = DATASETS[config.data]
    diffusion = build_diffusion(config, shape[0]).to(device)
    size = 1
    while True:
        x0 = torch.zeros(size, *shape, device=device)
        diffusion.loss(x0).backward()  # the first pass of a size is slower
        start = time.perf_counter()
        diffusion.loss(x0).backward()
        diffusion.eps_model.final.bias.grad.sum().item()  # waits for the device
        seconds = time.perf_counter() - start
        if seconds >= at_least or size >= config.batch_size:
            return seconds / size
        size *= 2
