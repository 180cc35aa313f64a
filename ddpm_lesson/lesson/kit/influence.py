"""Who sees whom: how strongly one pixel of an output reacts to each pixel of its input."""

import torch
from torch import Tensor


def influence(y: Tensor, x: Tensor, place: tuple[int, int] | None = None) -> Tensor:
    """How much each pixel of ``x`` moves one pixel of ``y``: absolute gradients, added up over the channels of x.

    Args:
        y: (1, C', H', W'), computed from ``x``.
        x: (1, C, H, W), requires a gradient.
        place: row and column in ``y``; the middle unless given.

    Returns:
        (H, W); exactly 0 where the pixel does not look.
    """
    i, j = place or (y.shape[2] // 2, y.shape[3] // 2)
    (gradient,) = torch.autograd.grad(y[0, :, i, j].sum(), x, retain_graph=True)
    return gradient[0].abs().sum(0)
