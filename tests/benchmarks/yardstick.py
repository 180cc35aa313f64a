"""What several measurements share: one Frechet distance with its floor, and a count of a network's evaluations."""

from collections.abc import Callable
from statistics import mean
from typing import Any

import torch
from torch import Tensor, nn

from ddpm_lesson import load_images
from ddpm_lesson.evaluate import extractor, features_of, gaussian_frechet, moments, random_subset
from ddpm_lesson.evaluate.frechet import check_enough
from tests.benchmarks.evaluation import floors_of, spread

N_REAL = 10_000  # training images to compare with, at most


class Yardstick:
    """How far images are from the training images of ``data``, on features that ``extractor`` knows by name.

    Two distances compare if they are of equally many images; ``floor`` is what as many real images have that nobody
    was trained on.
    """

    def __init__(
        self, data: str, features: str = "classifier", device: str | torch.device = "cpu", n_real: int = N_REAL
    ):
        train, test = (load_images(data, split)[:] for split in ("train", "test"))
        self.features, self.device = extractor(features, tuple(train.shape[1:])), device
        self.real = moments(self.seen(random_subset(train, n_real)))
        self.unseen = self.seen(test)

    def seen(self, images: Tensor) -> Tensor:
        """Features of images (N, C, H, W), (N, D)."""
        return features_of(self.features, images, self.device)

    def distance(self, images: Tensor) -> float:
        """Of images (N, C, H, W)."""
        check_enough("images", len(images), self.features.num_features)
        return float(gaussian_frechet(*self.real, *moments(self.seen(images))))

    def floor(self, n: int) -> dict[str, float]:
        """The mean over draws of ``n`` test images, and the standard deviation of a draw; empty if there are fewer."""
        if n > len(self.unseen):
            return {}
        floors = floors_of(self.real, self.unseen, n)
        return {"floor": mean(floors), "floor_spread": spread(floors)}


def evaluations(network: nn.Module, draw: Callable[[], Any]) -> int:
    """How often ``draw`` asks the network, counted."""
    calls: list[None] = []
    with network.register_forward_hook(lambda *_: calls.append(None)):
        draw()
    return len(calls)
