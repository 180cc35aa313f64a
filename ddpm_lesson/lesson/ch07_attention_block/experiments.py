"""Attention written out by hand, what it costs, and what the attention blocks of a network look at."""

import copy
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ddpm_lesson.lesson.kit.exercise import numbers
from ddpm_lesson.lesson.kit.xray import watched_pass
from ddpm_lesson.unet import AttentionBlock, Downsample, UNet


def attention_weights(q: Tensor, k: Tensor) -> Tensor:
    """softmax(q k^T / sqrt(d_k)) over the keys: how much each query takes from each key.

    Vaswani et al. 2017, Eq. 1. ``q`` is (..., N, d_k), ``k`` (..., M, d_k); the result is (..., N, M), rows sum to 1.
    """
    scores = torch.einsum("...id,...jd->...ij", q, k) / q.shape[-1] ** 0.5
    return scores.softmax(dim=-1)


def attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Attention with its map written out: a mean of the values for each query, weighted by how well the keys fit.

    Vaswani et al. 2017, Eq. 1. ``q`` is (..., N, d_k), ``k`` (..., M, d_k), ``v`` (..., M, d_v); the result is
    (..., N, d_v).
    """
    return torch.einsum("...ij,...jd->...id", attention_weights(q, k), v)


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
    """What the softmax makes of random queries and keys, with scores divided by sqrt(d_k) and without.

    Args:
        d_k: the widths to try.
        n_keys: keys for each query.
        n_queries: over how many the mean is taken.
        seed: of the entries, which are standard normal.
    """
    generator = torch.Generator().manual_seed(seed)
    found = []
    for width in d_k:
        q = torch.randn(n_queries, 1, width, generator=generator)
        k = torch.randn(n_queries, n_keys, width, generator=generator)
        scores = (q * k).sum(-1)
        weights = torch.stack([scores / width**0.5, scores]).softmax(-1)  # (2, n_queries, n_keys)
        found.append(torch.stack([weights.amax(-1).mean(-1), (1 - weights.square().sum(-1)).mean(-1)], dim=1))
    scaled, unscaled = torch.stack(found, dim=-1)  # each (2, len(d_k))
    return Saturation(*scaled), Saturation(*unscaled)


class Reach(NamedTuple):
    """How far the pixels of a map look; means over all queries."""

    own: float  # the weight that a pixel gives to itself
    far: float  # the weight that goes more than two pixels away
    pixels: float  # over how many pixels a look is spread


def reach(weights: Tensor) -> Reach:
    """How far the queries of a map (H, W, H, W) look; a diagonal step counts as one, as for a 3x3 convolution."""
    height, width = weights.shape[:2]
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    place = torch.stack([rows.flatten(), columns.flatten()], dim=1)  # (H*W, 2)
    distance = (place[:, None] - place[None]).abs().amax(-1)
    flat = weights.reshape(len(place), len(place)).cpu()
    own, far = (float(flat[mask].sum()) / len(place) for mask in (distance == 0, distance > 2))
    return Reach(own, far, float(effective_pixels(flat).mean()))


def attention_blocks(model: nn.Module) -> dict[str, AttentionBlock]:
    """The attention blocks of a network by their names, in the order in which they are registered."""
    return {name: module for name, module in model.named_modules() if isinstance(module, AttentionBlock)}


def attention_inputs(model: nn.Module, xt: Tensor, t: Tensor) -> dict[str, Tensor]:
    """What reaches each attention block of a network in one pass, in evaluation mode and without gradients.

    Args:
        model: the network, called with ``xt`` and ``t``.
        xt: noisy images, (B, C, H, W).
        t: their times, (B,).

    Returns:
        By the block's name, each (B, C', H', W').
    """
    return watched_pass(model, xt, t, attention_blocks(model), lambda name, block, inputs, output: inputs[0])


def looks(model: nn.Module, xt: Tensor, t: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """What a network answers and where its attention blocks look on the way, in one pass.

    Args:
        model, xt, t: as in ``attention_inputs``.

    Returns:
        The answer, and by each block's name its map (B, heads, H', W', H', W'): of the query at [row, column] over
        every pixel.
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


def without_norm(block: AttentionBlock) -> AttentionBlock:
    """A copy of a block that leaves its group normalisation out; the weights are the same."""
    changed = copy.deepcopy(block)
    changed.norm = nn.Identity()
    return changed


def with_frozen_norm(block: AttentionBlock, x: Tensor) -> AttentionBlock:
    """A copy of a block that norms by the mean and deviation of ``x`` (B, C, H, W), whatever it is given later."""
    changed = copy.deepcopy(block)
    changed.norm = FrozenNorm(block.norm, x)
    return changed


class FrozenNorm(nn.Module):
    """A group normalisation, weights and all, whose statistics are those of one feature map (B, C, H, W)."""

    def __init__(self, norm: nn.GroupNorm, x: Tensor):
        super().__init__()
        groups = x.detach().unflatten(1, (norm.num_groups, -1))
        self.norm = norm
        self.mean = groups.mean((2, 3, 4), keepdim=True)
        self.scale = (groups.var((2, 3, 4), keepdim=True, correction=0) + norm.eps).rsqrt()

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        groups = (x.unflatten(1, (self.norm.num_groups, -1)) - self.mean) * self.scale
        return groups.flatten(1, 2) * self.norm.weight[:, None, None] + self.norm.bias[:, None, None]


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


def attention_macs(side: int, n_channels: int, n_heads: int = 1, d_k: int | None = None) -> tuple[int, int]:
    """Multiply-adds of an attention block for one image: of the two products over all pairs, and of the linear layers.

    Args:
        side: height and width of the feature map in pixels.
        n_channels, n_heads, d_k: as in ``AttentionBlock``.
    """
    width = n_heads * (d_k or n_channels // n_heads)
    return 2 * side**4 * width, 4 * side**2 * n_channels * width


def map_bytes(side: int, n_heads: int = 1, bytes_a_number: int = 4) -> int:
    """Memory of the attention map of one image, if it is written out."""
    return n_heads * side**4 * bytes_a_number
