"""Every setting of a training run, and a preset for each data set."""

from dataclasses import dataclass, field, fields, replace
from typing import Any, TypeVar

from ddpm_lesson.data import nearest
from ddpm_lesson.diffusion import PREDICTIONS

T = TypeVar("T")
PRECISIONS = ("auto", "no", "bf16", "fp16")
TARGETS = (*PREDICTIONS, "flow")


def setting(default: T, help: str) -> T:
    """A field of ``TrainConfig`` with its default, and with words for whoever reads this or asks for ``--help``."""
    return field(default=default, metadata={"help": help})


@dataclass(frozen=True)
class TrainConfig:
    """Every setting of a training run; the defaults are the paper's. ``PRESETS`` holds one for each data set."""

    data: str = setting("cifar10", "data set or folder of images, see load_images")
    image_size: int | None = setting(None, "pixels a side; the data set's own unless given")

    n_channels: int = setting(128, "base width of the U-Net")
    ch_mults: tuple[int, ...] = setting((1, 2, 2, 2), "width of each level, times the base width")
    is_attn: tuple[bool, ...] = setting((False, True, False, False), "which levels have attention")
    n_blocks: int = setting(2, "blocks a level")
    n_heads: int = setting(1, "attention heads")
    n_groups: int = setting(32, "groups of the group normalisation")
    dropout: float = setting(0.1, "inside the residual blocks")

    n_steps: int = setting(1000, "T, diffusion steps")
    schedule: str = setting("linear", "linear, cosine, quadratic or sigmoid")
    sigma: str = setting("beta", "variance of the reverse step: beta or posterior")
    clip_x0: bool = setting(True, "clip the estimate of x0 to [-1, 1]")
    prediction: str = setting("eps", "what the network learns: eps, x0, v, or flow, the velocity of straight paths")
    n_classes: int | None = setting(None, "classes that labels tell apart; no labels unless given")
    label_dropout: float = setting(0.1, "share of the images that come without their label, if there are labels")

    train_steps: int = setting(800_000, "optimiser steps")
    batch_size: int = setting(128, "images a step, over all processes")
    accumulation_steps: int = setting(1, "parts that a batch is worked off in, which saves memory")
    lr: float = setting(2e-4, "Adam's learning rate after warm-up")
    warmup_steps: int = setting(5_000, "first steps, over which the learning rate rises to lr")
    cooldown_steps: int = setting(0, "last steps, over which the learning rate falls to 0")
    grad_clip: float = setting(1.0, "largest norm of the gradient")
    ema_decay: float = setting(0.9999, "of the average of the weights, once warmed up")
    flip: bool = setting(False, "mirror each image left to right with probability 1/2")
    mixed_precision: str = setting("no", "no, bf16, fp16, or auto: bf16 where it is fast")
    compiled: bool = setting(False, "torch.compile the network: about a minute at the start, then faster steps")
    seed: int = setting(0, "of weights, batches, times and noise")

    save_every: int = setting(5_000, "steps between checkpoints")
    sample_every: int = setting(20_000, "steps between sample grids")
    n_samples: int = setting(64, "images in a sample grid")
    sample_steps: int | None = setting(None, "DDIM steps for the grids; all T steps of DDPM unless given")

    def __post_init__(self) -> None:
        for name in ("ch_mults", "is_attn"):
            object.__setattr__(self, name, tuple(getattr(self, name)))  # JSON has lists only
        counts = (
            "n_steps",
            "train_steps",
            "batch_size",
            "accumulation_steps",
            "save_every",
            "sample_every",
            "n_samples",
        )
        for name in counts:
            self._check(name, is_whole(getattr(self, name), at_least=1), "a whole number of at least 1")
        for name in ("image_size", "sample_steps", "n_classes"):
            value = getattr(self, name)
            self._check(name, value is None or is_whole(value, at_least=1), "a whole number of at least 1")
        self._check("sample_steps", (self.sample_steps or 1) <= self.n_steps, f"at most n_steps, {self.n_steps}")
        for name in ("warmup_steps", "cooldown_steps"):
            self._check(name, is_whole(getattr(self, name), at_least=0), "a whole number of at least 0")
        self._check("seed", is_whole(self.seed, at_least=0) and self.seed < 2**32, "a whole number in 0 .. 2**32 - 1")
        for name in ("lr", "grad_clip"):
            self._check(name, 0 < getattr(self, name) < float("inf"), "above 0")
        self._check("ema_decay", 0 <= self.ema_decay < 1, "in [0, 1)")
        self._check("label_dropout", 0 <= self.label_dropout <= 1, "in [0, 1]")
        self._check("prediction", self.prediction in TARGETS, f"one of {', '.join(TARGETS)}")
        self._check("mixed_precision", self.mixed_precision in PRECISIONS, "auto, no, bf16 or fp16")

    def _check(self, name: str, good: bool, right: str) -> None:
        if not good:
            raise ValueError(f"{name} must be {right}; got {getattr(self, name)!r}")


def is_whole(value: Any, at_least: int) -> bool:
    """Whether ``value`` is an integer of at least ``at_least``."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= at_least


MNIST = TrainConfig(
    data="mnist",
    n_channels=24,
    ch_mults=(1, 2, 4),
    is_attn=(False, False, True),
    n_blocks=1,
    n_groups=8,
    dropout=0.0,
    train_steps=22_000,
    batch_size=32,
    lr=1e-3,
    warmup_steps=200,
    cooldown_steps=4_000,
    ema_decay=0.9995,
    mixed_precision="auto",
    save_every=250,
    sample_every=2_000,
    sample_steps=50,
)

DIGITS = TrainConfig(
    data="digits",
    n_channels=32,
    ch_mults=(1, 2),
    is_attn=(False, True),
    n_blocks=1,
    n_groups=8,
    dropout=0.0,
    train_steps=360,
    batch_size=64,
    lr=2e-3,
    warmup_steps=20,
    cooldown_steps=120,
    ema_decay=0.98,
    save_every=100,
    sample_every=10_000,
    sample_steps=50,
)

# The network of MNIST with the schedule, the target and the labels that make good images soonest (assets/quality.png)
SOONEST = replace(MNIST, schedule="cosine", prediction="v", n_classes=10, train_steps=10_000, cooldown_steps=4_000)

PRESETS = {
    # scikit-learn's 8 x 8 digits: under a minute on a laptop's CPU. Always in float32, because notebooks store what its
    # seed gives, on whatever processor; the others, which nobody stores, compute in what is fast.
    "digits": DIGITS,
    # the same network told which digit to draw, and the same one with straight paths: twice as many steps
    "digits_guided": replace(DIGITS, n_classes=10, train_steps=720, cooldown_steps=240),
    "digits_flow": replace(DIGITS, prediction="flow", train_steps=720, cooldown_steps=240),
    # 28 x 28 handwriting as the paper would: a few hours on a CPU. The same network told what to draw, and 28 x 28
    # clothes, not mirrored, because all shoes point to the left: an hour each
    "mnist": MNIST,
    "mnist_guided": SOONEST,
    "fashion": replace(SOONEST, data="fashion"),
    # colour photographs for those without a GPU: a few hours on a CPU
    "cifar10_small": replace(
        SOONEST, data="cifar10", train_steps=12_500, batch_size=16, cooldown_steps=3_000, flip=True
    ),
    # the paper's CIFAR-10 setting (Ho et al. 2020, Appendix B): days on one GPU
    "cifar10": TrainConfig(flip=True, mixed_precision="auto"),
}


def get_preset(name: str, **overrides: Any) -> TrainConfig:
    """The preset called ``name``, with any field replaced; its grids take no more steps than a shorter chain has.

    Raises:
        ValueError: if there is no such preset or field, or a value is out of range.
    """
    if name not in PRESETS:
        near = nearest(name, list(PRESETS))
        raise ValueError(f"no preset called {name!r}{near}; the presets are {', '.join(PRESETS)}")
    known = [f.name for f in fields(TrainConfig)]
    for wanted in overrides:
        if wanted not in known:
            raise ValueError(f"a training run has no setting {wanted!r}{nearest(wanted, known)}")
    preset, n_steps = PRESETS[name], overrides.get("n_steps")
    if preset.sample_steps and isinstance(n_steps, int) and 0 < n_steps < preset.sample_steps:
        preset = replace(preset, sample_steps=n_steps)
    return replace(preset, **overrides)
