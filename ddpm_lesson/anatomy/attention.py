"""Attention written out by hand, what it costs, and what the attention blocks of a network look at."""

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn

from ddpm_lesson.unet import AttentionBlock, Downsample, UNet
from ddpm_lesson.xray import watched_pass


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
    kept: dict[str, Tensor] = {}

    def keep(name: str, _: nn.Module, inputs: tuple[Tensor, ...], __: Tensor) -> None:
        kept[name] = inputs[0]

    watched_pass(model, xt, t, attention_blocks(model), keep)
    return kept


@torch.no_grad()
def looks(model: nn.Module, xt: Tensor, t: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """What a network answers and where its attention blocks look on the way, in one pass.

    Args:
        model, xt, t: as in ``attention_inputs``.

    Returns:
        The answer, and by each block's name its map (B, heads, H', W', H', W'): of the query at [row, column] over
        every pixel.
    """
    answers, maps = [], {}

    def keep(name: str, module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        if name:
            side = inputs[0].shape[2:]
            maps[name] = module.attention_map(inputs[0]).unflatten(3, side).unflatten(2, side)
        else:
            answers.append(output)  # the network itself has no name

    watched_pass(model, xt, t, ["", *attention_blocks(model)], keep)
    return answers[0], maps


def attention_maps(model: nn.Module, xt: Tensor, t: Tensor) -> dict[str, Tensor]:
    """The maps of ``looks``, without the answer."""
    return looks(model, xt, t)[1]


def without_norm(block: AttentionBlock) -> AttentionBlock:
    """A copy of a block that leaves its group normalisation out; the weights are the same."""
    changed = copy.deepcopy(block)
    changed.norm = nn.Identity()
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


def influence(function: Callable[[Tensor], Tensor], x: Tensor, row: int, column: int) -> Tensor:
    """How strongly one pixel of the output reacts to each pixel of the input, by autograd.

    Args:
        function: feature map (1, C, H, W) -> feature map (1, C', H, W).
        x: where to ask, (1, C, H, W).
        row, column: of the output pixel.

    Returns:
        (H, W), the absolute derivatives summed over channels; exactly 0 where the pixel does not look.
    """
    x = x.detach().clone().requires_grad_()
    (gradient,) = torch.autograd.grad(function(x)[0, :, row, column].sum(), x)
    return gradient[0].abs().sum(0)


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


def attention_parameters(n_channels: int) -> int:
    """Weights of an attention block whose heads together are as wide as the feature map."""
    return 4 * n_channels**2 + 6 * n_channels
