"""Sizes, and the window of the input that a pixel sees.

Sizes and positions are those of one axis; height and width are treated alike. Pixel i lies at position i.
"""

import copy
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ddpm_lesson.lesson.kit.influence import influence
from ddpm_lesson.lesson.kit.xray import hooked, parts
from ddpm_lesson.sample import eval_mode
from ddpm_lesson.unet import AttentionBlock, UNet


def conv_size(n: int, kernel: int, stride: int = 1, before: int = 0, after: int = 0) -> int:
    """Pixels that come out of a convolution over ``n`` pixels, padded ``before`` and ``after``.

    Dumoulin and Visin 2016, relationship 5, with a padding for each side.
    """
    return (n + before + after - kernel) // stride + 1


class Field(NamedTuple):
    """The window of the input that one pixel of a layer sees."""

    size: int  # pixels of the input along one side
    jump: int  # pixels of the input between the windows of two neighbours
    centre: float  # of the window of pixel 0


def receptive_fields(layers: Sequence[tuple[int, int, int]]) -> list[Field]:
    """The window after each of a stack of convolutions.

    Araujo et al. 2019, Computing receptive fields of convolutional neural networks, section 2.

    Args:
        layers: (kernel, stride, pixels of padding in front), the first layer first.
    """
    fields, size, jump, centre = [], 1, 1, 0.0
    for kernel, stride, before in layers:
        size = size + (kernel - 1) * jump
        centre = centre + ((kernel - 1) / 2 - before) * jump
        jump = jump * stride
        fields.append(Field(size, jump, centre))
    return fields


def stages(model: UNet) -> list[str]:
    """Names of the modules through which a feature map goes, in this order."""
    return [part.name for part in parts(model) if part.name not in ("time_emb", "norm")]


def layers_down(model: UNet, stage: str) -> list[tuple[int, int, int]]:
    """(kernel, stride, padding in front) of the convolutions up to a stage of the way down, or the middle.

    Shortcuts (1x1) run beside a pair of 3x3 convolutions, see less, and are left out. ValueError on the way up.
    """
    names = stages(model)
    if names.index(stage) > names.index("middle"):
        raise ValueError(f"stage must be on the way down or the middle; got {stage!r}")
    layers = []
    for name in names[: names.index(stage) + 1]:
        module = model.get_submodule(name)
        front = getattr(module, "pad", (None,))[0]  # a Downsample pads by itself
        convolutions = [m for m in module.modules() if isinstance(m, nn.Conv2d) and m.kernel_size[0] > 1]
        layers += [(m.kernel_size[0], m.stride[0], m.padding[0] if front is None else front) for m in convolutions]
    return layers


def convolutions_only(model: UNet) -> UNet:
    """A copy in float64 without what looks at the whole image at once: normalisations and attention are left out."""
    model = copy.deepcopy(model).double().eval().requires_grad_(False)
    for parent in list(model.modules()):
        for name, module in list(parent.named_children()):
            if isinstance(module, nn.GroupNorm | AttentionBlock):
                setattr(parent, name, nn.Identity())
    return model


def stage_influences(model: UNet, xt: Tensor, t: int = 0, names: Sequence[str] | None = None) -> dict[str, Tensor]:
    """For ``stages`` of the network, all unless given: how much each pixel of ``xt`` moves the one in the middle.

    From (1, C, H, W) at time ``t`` to (H, W) each. The network is asked in evaluation mode and left as it was.
    """
    kept: dict[str, Tensor] = {}

    def keep(name: str, _: nn.Module, __: tuple, answer: Tensor) -> None:
        kept[name] = answer

    xt = xt.detach().to(next(model.parameters())).requires_grad_()
    with hooked(model.get_submodule(n).register_forward_hook(partial(keep, n)) for n in names or stages(model)):
        eval_mode(model)(xt, torch.full((1,), t, device=xt.device))
    return {name: influence(y, xt).cpu() for name, y in kept.items()}


def extent(seen: Tensor) -> tuple[int, int, int, int]:
    """First and last row, first and last column of what is not zero in (H, W)."""
    rows, columns = (seen.abs().sum(axis).nonzero().flatten().tolist() for axis in (1, 0))
    return rows[0], rows[-1], columns[0], columns[-1]


def centre_of_mass(image: Tensor) -> tuple[float, float]:
    """Row and column of the centre of mass of the last two axes."""
    total = image.sum()
    rows, columns = (torch.arange(n, dtype=image.dtype, device=image.device) for n in image.shape[-2:])
    return float((image.sum(-1) * rows).sum() / total), float((image.sum(-2) * columns).sum() / total)
