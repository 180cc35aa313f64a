"""Real images made worse in a known way, to see which measure notices."""

import torch
import torch.nn.functional as F
from torch import Tensor

KINDS = ("noise", "blur", "missing classes", "few distinct")
BLUR = 2.0  # pixels, the standard deviation of the strongest blur


def degraded(
    images: Tensor, labels: Tensor, kind: str, amount: float, generator: torch.Generator | None = None
) -> Tensor:
    """As many images as before, made worse.

    Args:
        images: (N, C, H, W) in [-1, 1].
        labels: (N,) class numbers.
        kind: ``"noise"`` (added, then clipped), ``"blur"``, ``"missing classes"`` (the others come again in their
            place) or ``"few distinct"`` (few images, again and again).
        amount: 0 (as they are) .. 1: noise as strong as the signal's range allows (standard deviation 1), a blur of
            2 pixels, one class left, one image in a thousand left.
        generator: where noise comes from.

    Raises:
        ValueError: if ``kind`` or ``amount`` is unknown or out of range.
    """
    if kind not in KINDS:
        raise ValueError(f"kind must be one of {', '.join(KINDS)}; got {kind!r}")
    if not 0 <= amount <= 1:
        raise ValueError(f"amount must lie in [0, 1]; got {amount}")
    if kind == "noise":
        return (images + amount * torch.randn(images.shape, generator=generator)).clamp(-1, 1)
    if kind == "blur":
        return blurred(images, BLUR * amount)
    if kind == "missing classes":
        classes = labels.unique()
        kept = classes[: max(1, round(len(classes) - (len(classes) - 1) * amount))]
        return repeated(images[torch.isin(labels, kept)], len(images))
    return repeated(images[: max(1, round(len(images) * 1000**-amount))], len(images))


def gaussian_twin(images: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """As many draws from a Gaussian, with exactly the mean and the covariance of the pixels of ``images``.

    They are not clipped to [-1, 1]. ``images`` are (N, C, H, W), more than there are pixels.
    """
    x = images.flatten(1).double()
    eps = torch.randn(x.shape, generator=generator, dtype=x.dtype)
    white, *_ = torch.linalg.svd(eps - eps.mean(0), full_matrices=False)  # columns without mean, at right angles
    _, size, axes = torch.linalg.svd(x - x.mean(0), full_matrices=False)
    return (x.mean(0) + white * size @ axes).view(images.shape).to(images)


def blurred(images: Tensor, std: float) -> Tensor:
    """Images under a Gaussian of ``std`` pixels, their edges continued; the images themselves for 0."""
    if std == 0:
        return images
    radius = max(1, min(round(3 * std), min(images.shape[-2:]) - 1))
    weight = torch.exp(-0.5 * (torch.arange(-radius, radius + 1) / std) ** 2)
    weight = (weight / weight.sum()).to(images)
    channels = images.shape[1]
    for axis in (-2, -1):
        pad = (radius, radius, 0, 0) if axis == -1 else (0, 0, radius, radius)
        kernel = weight.view(1, 1, *((1, -1) if axis == -1 else (-1, 1))).expand(channels, -1, -1, -1)
        images = F.conv2d(F.pad(images, pad, mode="replicate"), kernel, groups=channels)
    return images


def repeated(images: Tensor, n: int) -> Tensor:
    """``n`` images: those given, and from the first again when they end."""
    return images[torch.arange(n) % len(images)]
