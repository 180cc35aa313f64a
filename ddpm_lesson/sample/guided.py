"""Classifier-free guidance: away from what the network says of no image in particular, towards one with the label."""

import copy
from typing import Any

import torch
from torch import Tensor, nn

from ddpm_lesson.diffusion import DenoiseDiffusion
from ddpm_lesson.sample.steps import with_network


def guided(diffusion: DenoiseDiffusion, class_labels: Tensor, scale: float) -> DenoiseDiffusion:
    """The same model for images with given labels: every sampler works on it as on any other.

    Ho and Salimans 2022, Eq. 6: eps = eps_null + scale (eps_label - eps_null), with w = scale - 1. So 0 leaves the
    labels out, 1 is the conditional model, more exaggerates. (diffusers counts like this, but guides above 1 only.)
    Since the two weights add up to 1, the same holds word for word for x0 and v.

    Args:
        diffusion: a model whose network was trained with labels, some of them left out.
        class_labels: (B,) whole numbers in 0 .. n_classes-1, or (1,) for a batch of any size.
        scale: at least 0. The network is asked for 2 B images a step.

    Raises:
        ValueError: if the network takes no labels, one is out of range, or ``scale`` is negative.
    """
    n_classes = getattr(diffusion.eps_model, "n_classes", None)
    if not isinstance(n_classes, int):
        raise ValueError(
            "diffusion must have a network that takes class_labels, with n_classes of them; got one without"
        )
    labels = torch.as_tensor(class_labels)
    if labels.is_floating_point() or labels.ndim != 1 or not ((labels >= 0) & (labels < n_classes)).all():
        raise ValueError(f"class_labels must be (B,) whole numbers in 0 .. {n_classes - 1}; got {labels.tolist()}")
    if not scale >= 0:
        raise ValueError(f"scale must be at least 0 (0 leaves the labels out, 1 follows them); got {scale}")
    network: Any = copy.copy(diffusion.eps_model)  # the same weights
    network.trusts_labels = True
    return with_network(diffusion, Guided(network, labels.long(), n_classes, scale).to(diffusion.device))


class Guided(nn.Module):
    """A network of ``(xt, t, class_labels)`` whose labels are settled, and exaggerated by ``scale``."""

    class_labels: Tensor

    def __init__(self, network: nn.Module, class_labels: Tensor, n_classes: int, scale: float):
        super().__init__()
        self.network = network
        self.null = n_classes  # the label that says none
        self.scale = scale
        self.register_buffer("class_labels", class_labels, persistent=False)

    def forward(self, xt: Tensor, t: Tensor) -> Tensor:
        """What the network says of ``xt`` (B, ...) at times ``t`` (B,), guided; the shape of ``xt``."""
        if len(self.class_labels) not in (1, len(xt)):
            got = len(self.class_labels)
            raise ValueError(f"class_labels must be (1,) or one for each of the {len(xt)} images; got {got}")
        labels = self.class_labels.expand(len(xt))
        both = torch.cat((torch.full_like(labels, self.null), labels))
        null, label = self.network(torch.cat((xt, xt)), torch.cat((t, t)), both).chunk(2)
        return torch.lerp(null, label, self.scale)
