"""Are the gradients of a fast path those of the plain one? Each is held against float64, layer by layer.

bf16, memory laid out channels last and compilers have together given wrong gradients of group normalisations elsewhere,
without a word. A wrong gradient is off by its own size; rounding is far less. Every number passes through the layers
and back again, and takes a rounding error of at most u at each; those errors are independent, so that their sizes add
up as roots do, ``u * sqrt(roundings)``.
"""

import math
from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ddpm_lesson.runtime import autocast
from ddpm_lesson.unet import UNet

PATHS = {  # name: precision, channels last, compiled
    "float32": ("no", False, False),
    "float32, channels last": ("no", True, False),
    "bf16": ("bf16", False, False),
    "bf16, channels last": ("bf16", True, False),
    "float32, compiled": ("no", False, True),
    "float32, channels last, compiled": ("no", True, True),
    "bf16, compiled": ("bf16", False, True),
    "bf16, channels last, compiled": ("bf16", True, True),
}
ROUNDING = {"no": 2.0**-24, "tf32": 2.0**-11, "bf16": 2.0**-9, "fp16": 2.0**-11}  # u, largest relative error of one
CANCELS = 4  # by so much, at most, a gradient is smaller than the terms that it is the sum of, whose rounding counts


def network() -> UNet:
    """A small network with every kind of layer, whose weights are all at work (those of a new one are partly zeros)."""
    torch.manual_seed(0)
    unet = UNet(3, 32, (1, 2), (False, True), 1, n_groups=8, dropout=0.0)
    with torch.no_grad():
        for parameter in unet.parameters():
            noise = torch.randn_like(parameter)
            parameter.copy_(noise * parameter[0].numel() ** -0.5 if parameter.ndim > 1 else parameter + 0.1 * noise)
    return unet


def gradients(unet: nn.Module, device: torch.device, precision: str = "no") -> dict[str, Tensor]:
    """The gradient of the loss of a fixed batch, by name, in float64 on the CPU."""
    generator = torch.Generator().manual_seed(1)
    dtype = next(unet.parameters()).dtype
    xt, eps = (torch.randn(8, 3, 16, 16, generator=generator).to(device, dtype) for _ in range(2))
    t = torch.randint(1000, (8,), generator=generator).to(device)
    with autocast(precision, device):
        loss = F.mse_loss(unet(xt, t), eps)
    loss.backward()
    return {name: p.grad.double().cpu() for name, p in unet.named_parameters() if p.grad is not None}


def path_gradients(path: str, device: torch.device) -> dict[str, Tensor]:
    """The same of a fast path, called by its name in ``PATHS``."""
    precision, channels_last, compiled = PATHS[path]
    unet = network().to(device)
    unet.to(memory_format=torch.channels_last if channels_last else torch.contiguous_format)
    if compiled:
        torch.compiler.reset()
        unet.compile()
    return gradients(unet, device, precision)


def relative_errors(found: dict[str, Tensor], expected: dict[str, Tensor]) -> dict[str, float]:
    """Norm of the difference over norm of the gradient, for each tensor."""
    return {name: float((found[name] - right).norm() / right.norm()) for name, right in expected.items()}


def allowed(precision: str) -> float:
    """The largest relative error that rounding explains."""
    layers = sum(isinstance(m, nn.Conv2d | nn.Linear | nn.GroupNorm | nn.SiLU) for m in network().modules())
    return CANCELS * ROUNDING[precision] * math.sqrt(2 * layers)


def largest(errors: Iterable[float]) -> float:
    """The largest error; not a number, if one is not."""
    return max(errors, key=lambda error: math.inf if math.isnan(error) else error)
