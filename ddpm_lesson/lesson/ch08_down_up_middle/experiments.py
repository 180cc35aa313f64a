"""What the skips carry: a network without some of them, trained so or robbed of them later."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from ddpm_lesson.data import ImageDataset
from ddpm_lesson.diffusion import DenoiseDiffusion
from ddpm_lesson.lesson.kit.probe import fresh_noise
from ddpm_lesson.lesson.kit.xray import bridges, hooked
from ddpm_lesson.sample import eval_mode
from ddpm_lesson.train import TrainConfig, TrainState, train
from ddpm_lesson.unet import UNet


@contextmanager
def without_skips(model: UNet, names: Sequence[str], below: Sequence[str] = ()) -> Iterator[None]:
    """While this lasts, the named up blocks get zeros in place of their skips, or of what comes from below.

    Args:
        model: the network; it may be trained meanwhile.
        names: of up blocks that lose their skips, such as ``"up.0"``; see ``up_blocks``.
        below: of up blocks that lose what comes from below.

    Raises:
        ValueError: if a name is none of an up block.
    """
    known, taken = up_blocks(model), [*names, *below]
    if not set(taken) <= set(known):
        raise ValueError(f"names must be among {', '.join(known)}; got {', '.join(taken)}")

    def zeroed(place: int) -> Callable[..., tuple[Tensor, ...]]:  # among x, skip and t_emb
        return lambda _, args: tuple(torch.zeros_like(x) if i == place else x for i, x in enumerate(args))

    those = [(1, name) for name in names] + [(0, name) for name in below]
    with hooked(model.get_submodule(name).register_forward_pre_hook(zeroed(place)) for place, name in those):
        yield


def up_blocks(model: UNet) -> list[str]:
    """Names of the blocks that take in a skip, in the order of the way up."""
    return [block.name for _, block in bridges(model)]


class Guess(NamedTuple):
    """What a network makes of noisy images, and how far off it is."""

    xt: Tensor  # (B, C, H, W), with the first noise
    x0_hat: Tensor  # the guess of the image from there, in [-1, 1]
    losses: Tensor  # (B,), squared error of the noise of each image, averaged over its values and over all noises

    @property
    def loss(self) -> float:
        """Mean over the images."""
        return float(self.losses.mean())


def with_error(losses: Tensor) -> str:
    """Mean and standard error of losses, one an image, or of their differences."""
    return f"{float(losses.mean()):.4f} ± {float(losses.std() / len(losses) ** 0.5):.4f}"


SKIPLESS = TrainConfig(
    data="digits", image_size=16, n_channels=8, ch_mults=(1, 2, 2), is_attn=(False, False, False), n_groups=4,
    n_blocks=1, dropout=0.0, batch_size=16, lr=4e-3, train_steps=100, warmup_steps=10, cooldown_steps=30,
)  # fmt: skip


def train_without(
    names: Sequence[str] | None, images: ImageDataset, seed: int = 0
) -> tuple[DenoiseDiffusion, list[float]]:
    """A small network trained on images of 16 x 16 pixels with some skips at zero, and its loss in every step.

    ``names`` of the up blocks that lose them; None for all. ``seed`` is that of weights, batches, times and noise.
    """
    state = TrainState(replace(SKIPLESS, seed=seed), images.shape, "cpu")
    unet = state.diffusion.eps_model
    with without_skips(unet, up_blocks(unet) if names is None else names):
        return state.diffusion, [step.loss.item() for step in train(state, images)]


@torch.no_grad()
def guess_without(
    diffusion: DenoiseDiffusion,
    x0: Tensor,
    t: int,
    names: Sequence[str] = (),
    *,
    below: Sequence[str] = (),
    seed: int = 0,
    n_noises: int = 1,
) -> Guess:
    """The guess of the noise, and of the image, with some inputs of up blocks zeroed; see ``without_skips``.

    Each of the images ``x0`` (B, C, H, W) is noised ``n_noises`` times up to ``t``, with noise of ``seed`` that no
    sample was drawn from, see ``fresh_noise``.
    """
    times = torch.full((len(x0),), t, device=x0.device)
    noises = fresh_noise(x0.expand(n_noises, *x0.shape), seed)
    unet = eval_mode(diffusion).eps_model
    xts = [diffusion.q_sample(x0, times, eps) for eps in noises]
    with without_skips(unet, names, below):
        guesses = [unet(xt, times) for xt in xts]
    losses = (torch.stack(guesses) - noises).square().flatten(2).mean((0, 2))
    return Guess(xts[0], diffusion.predict_x0(xts[0], times, guesses[0]).clamp(-1, 1), losses)
