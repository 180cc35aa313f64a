"""Did it memorise? The training image that is nearest to each sample."""

from typing import NamedTuple

import torch
from torch import Tensor


class Neighbours(NamedTuple):
    """The nearest training image of every image of a set."""

    distance: Tensor  # (N,) root mean square difference of two images whose values are in [-1, 1]
    index: Tensor  # (N,) into the training images


def nearest_neighbours(images: Tensor, training_images: Tensor, batch_size: int = 256) -> Neighbours:
    """For every image the training image with the smallest root mean square difference.

    Args:
        images, training_images: (N, C, H, W) and (M, C, H, W) in [-1, 1].
        batch_size: images at once.

    Raises:
        ValueError: if there are no images, or shapes do not fit.
    """
    if len(images) == 0:
        raise ValueError("images must hold at least one image; got none")
    if images.shape[1:] != training_images.shape[1:]:
        got, wanted = tuple(images.shape[1:]), tuple(training_images.shape[1:])
        raise ValueError(f"images must have the shape of the training images, {wanted}; got {got}")
    found = [nearest_of_batch(batch.flatten(1), training_images.flatten(1)) for batch in images.split(batch_size)]
    return Neighbours(*map(torch.cat, zip(*found, strict=True)))


def nearest_of_batch(images: Tensor, training_images: Tensor) -> Neighbours:
    """The nearest row of (M, D) for every row of (B, D)."""
    index = torch.cdist(images, training_images).argmin(1)
    # cdist loses digits where images are almost alike; the distances themselves are taken without its shortcut
    return Neighbours((images - training_images[index]).square().mean(1).sqrt(), index)
