"""Attention written out by hand, and what the attention blocks of a network look at."""

import copy
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ddpm_lesson.lesson.kit.exercise import numbers
from ddpm_lesson.lesson.kit.xray import watched_pass
from ddpm_lesson.unet import AttentionBlock, Downsample, UNet


def attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Attention with its map written out: a mean of the values for each query, weighted by how well the keys fit.

    Vaswani et al. 2017, Eq. 1. ``q`` is (..., N, d_k), ``k`` (..., M, d_k), ``v`` (..., M, d_v); the result is
    (..., N, d_v).
    """
    weights = (q @ k.mT / q.shape[-1] ** 0.5).softmax(-1)  # (..., N, M)
    return weights @ v


def effective_pixels(weights: Tensor) -> Tensor:
    """Over how many pixels a row of weights is spread: e to the entropy, 1 for a single pixel, N for an even look.

    ``weights`` is (..., N), rows sum to 1; the result is (...).
    """
    return torch.special.entr(weights).sum(-1).exp()


class Saturation(NamedTuple):
    """What becomes of attention over d_k; each (len(d_k),)."""

    largest: Tensor  # the mean of the largest weight of a row
    slope: Tensor  # the mean of 1 - sum of squared weights, what the softmax still reacts


def saturation(
    d_k: Sequence[int], n_keys: int = 16, n_queries: int = 2000, seed: int = 0
) -> tuple[Saturation, Saturation]:
    """What the softmax makes of standard normal queries and keys, with scores divided by sqrt(d_k) and without.

    A mean over ``n_queries``, each with ``n_keys`` keys of its own, for every width in ``d_k``.
    """
    generator, (largest, slope) = torch.Generator().manual_seed(seed), torch.empty(2, 2, len(d_k))
    for i, width in enumerate(d_k):
        q, k = (torch.randn(n_queries, n, width, generator=generator) for n in (1, n_keys))
        scores = (q * k).sum(-1)
        weights = torch.stack([scores / width**0.5, scores]).softmax(-1)  # (2, n_queries, n_keys)
        largest[:, i], slope[:, i] = weights.amax(-1).mean(-1), (1 - weights.square().sum(-1)).mean(-1)
    return Saturation(largest[0], slope[0]), Saturation(largest[1], slope[1])


class Reach(NamedTuple):
    """How far the pixels of a map look; means over all queries."""

    own: float  # the weight that a pixel gives to itself
    far: float  # the weight that goes more than two pixels away
    pixels: float  # over how many pixels a look is spread


def reach(weights: Tensor) -> Reach:
    """How far the queries of a map (H, W, H, W) look; a diagonal step counts as one, as for a 3x3 convolution."""
    place = torch.cartesian_prod(*map(torch.arange, weights.shape[:2]))  # (H*W, 2)
    distance = (place[:, None] - place[None]).abs().amax(-1)
    flat = weights.reshape(len(place), len(place)).cpu()
    own, far = (float(flat[mask].sum()) / len(place) for mask in (distance == 0, distance > 2))
    return Reach(own, far, float(effective_pixels(flat).mean()))


def attention_blocks(model: nn.Module) -> dict[str, AttentionBlock]:
    """The attention blocks of a network by their names, in the order in which they are registered."""
    return {name: module for name, module in model.named_modules() if isinstance(module, AttentionBlock)}


def attention_inputs(model: nn.Module, xt: Tensor, t: Tensor) -> dict[str, Tensor]:
    """What reaches each attention block of a network in one pass: by the block's name, each (B, C', H', W').

    The network sees noisy images ``xt`` (B, C, H, W) at times ``t`` (B,), in evaluation mode and without gradients.
    """
    return watched_pass(model, xt, t, attention_blocks(model), lambda name, block, inputs, output: inputs[0])


def looks(model: nn.Module, xt: Tensor, t: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """What a network answers, and where its attention blocks look on the way; it is asked as in ``attention_inputs``.

    By each block's name its map (B, heads, H', W', H', W'): of the query at [row, column] over every pixel.
    """

    def look(name: str, module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        if not name:
            return output  # the network itself has no name
        side = inputs[0].shape[2:]
        return module.attention_map(inputs[0]).unflatten(3, side).unflatten(2, side)

    seen = watched_pass(model, xt, t, ["", *attention_blocks(model)], look)
    return seen.pop(""), seen


def lively(block: nn.Module) -> nn.Module:
    """The block itself in double precision, and every weight random, so that it matters; those of norms near 1."""
    block.double()
    for seed, (name, weight) in enumerate(block.named_parameters()):
        weight.data = 0.5 * numbers(*weight.shape, seed=seed, dtype=torch.float64) + float(name == "norm.weight")
    return block


def shuffled(x: Tensor, order: Tensor) -> Tensor:
    """The pixels of (B, C, H, W) in another order, (H*W,)."""
    return x.flatten(2)[:, :, order].reshape(x.shape)


def without_norm(block: AttentionBlock) -> AttentionBlock:
    """A copy of a block that leaves its group normalisation out; the weights are the same."""
    changed = copy.deepcopy(block)
    changed.norm = nn.Identity()
    return changed


def with_frozen_norm(block: AttentionBlock, x: Tensor) -> AttentionBlock:
    """A copy of a block that norms by the mean and deviation of ``x`` (B, C, H, W), whatever it is given later.

    Group normalisation whose statistics are fixed is batch normalisation in evaluation mode.
    """
    changed, norm = copy.deepcopy(block), block.norm
    groups = x.detach().transpose(0, 1).reshape(norm.num_groups, -1)
    var, mean = (s.repeat_interleave(len(norm.weight) // len(s)) for s in torch.var_mean(groups, 1, correction=0))
    changed.norm = nn.BatchNorm2d(norm.num_channels, norm.eps).eval()
    changed.norm.running_mean, changed.norm.running_var = mean, var
    changed.norm.weight, changed.norm.bias = norm.weight, norm.bias
    return changed


def without_border(model: UNet) -> UNet:
    """A copy of a network for which the left edge of a map borders on the right one, and the top on the bottom.

    Every padding with zeros is replaced by what lies on the other side; the weights are the same.
    """
    changed = copy.deepcopy(model)
    for module in list(changed.modules()):
        if isinstance(module, Downsample):
            module.conv = nn.Sequential(nn.CircularPad2d(module.pad), module.conv)
            module.pad = (0, 0, 0, 0)
        elif isinstance(module, nn.Conv2d) and module.padding != (0, 0):
            module.padding_mode = "circular"
    return changed
