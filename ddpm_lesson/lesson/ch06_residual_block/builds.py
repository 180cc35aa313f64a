"""What notebook 06 builds: the whole block as a module."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ddpm_lesson.lesson.kit.adam import steps_of_adam
from ddpm_lesson.lesson.kit.build import Build, Stage, unlike
from ddpm_lesson.lesson.kit.exercise import numbers
from ddpm_lesson.lesson.kit.xray import hooked

SIZES = ((6, 10, 7, 2), (8, 8, 5, 4), (12, 6, 3, 3))  # in_channels, out_channels, time_channels, n_groups


class ResidualBlock(nn.Module):
    """x (B, in_channels, H, W) and t_emb (B, time_channels) to (B, out_channels, H, W); silent before training."""

    def __init__(self, in_channels, out_channels, time_channels, n_groups):
        super().__init__()
        self.norm1 = nn.GroupNorm(n_groups, in_channels)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.time = nn.Linear(time_channels, out_channels)
        self.norm2 = nn.GroupNorm(n_groups, out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        nn.init.zeros_(self.conv2.weight)
        nn.init.zeros_(self.conv2.bias)
        same = in_channels == out_channels
        self.shortcut = nn.Identity() if same else nn.Conv2d(in_channels, out_channels, 1)

    def forward(self, x, t_emb):
        h = self.conv1(F.silu(self.norm1(x)))
        h = h + self.time(F.silu(t_emb))[:, :, None, None]
        h = self.conv2(F.silu(self.norm2(h)))
        return h + self.shortcut(x)


def inputs(size: tuple[int, ...], batch: int = 3) -> tuple[Tensor, Tensor]:
    """A feature map that is not square, and the time of each image."""
    return numbers(batch, size[0], 4, 5, seed=1), numbers(batch, size[2], seed=2)


def gives_maps(build: Callable[..., Any]) -> str | None:
    """A module that keeps height and width and changes the channels."""
    for size in SIZES:
        block = build(*size)
        if not isinstance(block, nn.Module):
            return f"BUILT must be an nn.Module; got {type(block).__name__}."
        x, t_emb = inputs(size)
        finding = unlike(block(x, t_emb), (3, size[1], 4, 5))
        if finding:
            return f"{finding} (For `ResidualBlock{size}` and x of shape {tuple(x.shape)}.)"
    return None


def parts_of(block: nn.Module, size: tuple[int, ...]) -> dict[str, list[Any]]:
    """Its norms, linear layers, and convolutions by the size of their kernel, in the order in which they are asked."""
    asked: dict[str, list[Any]] = {"norm": [], "time": [], "3x3": [], "1x1": []}

    def note(part: nn.Module, *_: Any) -> None:
        kind = {nn.GroupNorm: "norm", nn.Linear: "time"}.get(type(part)) or "x".join(map(str, part.kernel_size))
        asked.setdefault(kind, []).append(part)

    kinds = (nn.GroupNorm, nn.Linear, nn.Conv2d)
    hooks = (part.register_forward_hook(note) for part in block.modules() if isinstance(part, kinds))
    with hooked(hooks), torch.no_grad():
        block(*inputs(size))
    return asked


def has_its_parts(build: Callable[..., Any]) -> str | None:
    """How many of each part, with how many groups; and no weight that is in none of them."""
    for size in SIZES:
        block = build(*size)
        parts, wanted = parts_of(block, size), {"norm": 2, "time": 1, "3x3": 2, "1x1": int(size[0] != size[1])}
        counts = {kind: len(found) for kind, found in parts.items()}
        if counts != wanted:
            return f"In a pass through `ResidualBlock{size}` these parts are asked: {counts}; wanted: {wanted}."
        groups = [norm.num_groups for norm in parts["norm"]]
        if groups != [size[3]] * 2:
            return f"The norms of `ResidualBlock{size}` have {groups} groups; asked for: {size[3]} each."
        own, within = (sum(p.numel() for p in ps) for ps in (block.parameters(), weights_in(parts)))
        if own != within:
            return (
                f"`ResidualBlock{size}` has {own:,} weights; only {within:,} are in norms, convolutions and time layer."
            )
    return None


def weights_in(parts: dict[str, list[Any]]) -> list[Tensor]:
    """All weights of the parts."""
    return [weight for found in parts.values() for part in found for weight in part.parameters()]


def silent_start(build: Callable[..., Any]) -> str | None:
    """Whether a fresh block of equal channels is the identity, and the first convolution is not at zero."""
    size = SIZES[1]
    block, (x, t_emb) = build(*size), inputs(size)
    if not parts_of(block, size)["3x3"][0].weight.any():
        return "The first convolution of BUILT starts at zero, too: then neither ever learns."
    return unlike(block(x, t_emb), x, 1e-6, "Before training, with as many channels out as in, BUILT")


def whole_pass(build: Callable[..., Any]) -> str | None:
    """With random weights, against PyTorch's functions called one after the other."""
    for size in SIZES:
        block, (x, t_emb) = build(*size), inputs(size)
        parts = parts_of(block, size)
        with torch.no_grad():
            for i, weight in enumerate(weights_in(parts)):
                weight.copy_(numbers(*weight.shape, seed=10 + i) / weight[0].numel() ** 0.5)
            (norm1, norm2), (conv1, conv2), (time,) = parts["norm"], parts["3x3"], parts["time"]
            h = F.conv2d(F.silu(normed(x, norm1)), conv1.weight, conv1.bias, padding=1)
            h = h + F.linear(F.silu(t_emb), time.weight, time.bias)[:, :, None, None]
            h = F.conv2d(F.silu(normed(h, norm2)), conv2.weight, conv2.bias, padding=1)
            wanted = h + (F.conv2d(x, *parts["1x1"][0].parameters()) if parts["1x1"] else x)
        finding = unlike(block(x, t_emb), wanted, 1e-4, "With random weights, BUILT")
        if finding:
            return f"{finding} (The parts are all there: it is their order, or what happens in between.)"
    return None


def normed(x: Tensor, norm: nn.GroupNorm) -> Tensor:
    """Group normalisation with the numbers of a module."""
    return F.group_norm(x, norm.num_groups, norm.weight, norm.bias, norm.eps)


def learns(build: Callable[..., Any]) -> str | None:
    """Whether every weight moves: images are to be kept at one time, and their sign turned at the other."""
    block = build(8, 8, 2, 2)
    before = [p.detach().clone() for p in block.parameters()]

    def loss() -> Tensor:
        x, sign = torch.randn(16, 8, 4, 5), torch.randint(2, (16,)) * 2.0 - 1
        return F.mse_loss(block(x, torch.stack((3 * sign, -3 * sign), 1)), sign[:, None, None, None] * x)

    last = steps_of_adam(block, loss, 150, lr=1e-2)[-1]
    stuck = [n for (n, p), old in zip(block.named_parameters(), before, strict=True) if torch.equal(p, old)]
    if stuck:
        return f"In 150 steps of training `{stuck[0]}` of BUILT did not move."
    if not last < 0.8:
        return f"Told when to turn a sign, BUILT got to a loss of {last:.2f}; without the time it is 1."
    return None


build_ResidualBlock = Build(
    ResidualBlock,
    [
        Stage(gives_maps).says("""
            A class that inherits from `nn.Module`. Which part changes the number of channels on either way?
            3x3 convolutions with `padding=1` keep height and width; a 1x1 convolution fits the shortcut."""),
        Stage(has_its_parts).says("""
            Two norms, two 3x3 convolutions, a linear layer for the time; a 1x1 convolution if the channels change.
            `nn.Identity()` if `in_channels == out_channels`, else `nn.Conv2d(in_channels, out_channels, 1)`."""),
        Stage(silent_start).says("""
            Which of the two convolutions has to be at zero for the branch to be silent, and only silent?
            `nn.init.zeros_` on the weight and the bias of the *second* convolution, at the end of `__init__`."""),
        Stage(whole_pass).says("""
            Twice *normalise, bend, convolve*. Where does the time go, and what is done to it before its layer?
            `F.silu` before the linear layer of the time, whose answer is added behind the first convolution; at the end
                the shortcut of `x` itself."""),
        Stage(learns).says("""
            The forward pass is right. Does every weight get a gradient?
            No `detach`, no `no_grad`, no in-place change of `x`."""),
    ],
    "It starts as the identity and learns where to speak up. The last test could not be passed without the time: "
    "whether to keep an image or to turn its sign stood in `t_emb` alone.",
)
