"""Notebook 06: what the normalisation does and what it cannot see, Swish, the shortcut, and the weights counted."""

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ddpm_lesson.lesson.ch06_residual_block.experiments import group_norm, surviving_shift
from ddpm_lesson.lesson.kit.proof import Formula, ProofBook, largest, numbers, symbolic
from ddpm_lesson.unet import ResidualBlock

BOOK = ProofBook(6)
equation, prove, ledger = BOOK.equation, BOOK.prove, BOOK.ledger


# Group normalisation


@equation(
    "6.1",
    r"y_c = w_c\,\frac{x_c - \mu_g}{\sqrt{\sigma_g^2 + \delta}} + b_c",
    "PyTorch's group_norm",
    1e-12,
)
def normalised(formula: Formula = group_norm) -> float:
    """Against ``torch.nn.functional.group_norm`` with scale and offset, for several groups and a large delta too."""
    errors = []
    for n_groups, eps in ((1, 1e-6), (2, 1e-5), (3, 0.5), (6, 1e-6)):
        x = 3 * numbers(4, 6, 3, 5, seed=n_groups) + 2 * numbers(4, 6, 1, 1, seed=7)
        w, b = numbers(2, 6, seed=1)
        ours = w[:, None, None] * formula(x, n_groups, eps) + b[:, None, None]
        errors.append(ours - F.group_norm(x, n_groups, w, b, eps))
    return largest(errors)


def symbolic_norm(values: list[Any], delta: Any) -> list[Any]:
    """One group normalised, for symbols."""
    import sympy

    mean = sum(values) / len(values)
    var = sum((v - mean) ** 2 for v in values) / len(values)
    return [(v - mean) / sympy.sqrt(var + delta) for v in values]


@equation(
    "6.2",
    r"\mathrm{GN}_\delta(a\,x + b) = \mathrm{GN}_{\delta/a^2}(x), \quad a > 0",
    "algebra (sympy)",
    0.0,
)
def scale_and_offset(formula: Formula = lambda delta, a: delta / a**2) -> float:
    """A group of two values; the squares and the signs of both sides must agree."""
    import sympy

    a, delta = sympy.symbols("a delta", positive=True)
    x, y, b = sympy.symbols("x y b", real=True)
    left = symbolic_norm([a * x + b, a * y + b], delta)
    right = symbolic_norm([x, y], formula(delta, a))
    return symbolic(*(p**2 - q**2 for p, q in zip(left, right, strict=True)), left[0] / right[0] - 1)


# Swish


def sigmoid(x: Any) -> Any:
    """1 / (1 + exp(-x)) of a tensor or a symbol."""
    import sympy

    return x.sigmoid() if isinstance(x, Tensor) else 1 / (1 + sympy.exp(-x))


def swish(x: Any) -> Any:
    """Ramachandran, Zoph and Le 2017; Hendrycks and Gimpel 2016 call it SiLU."""
    return x * sigmoid(x)


def swish_slope(x: Any) -> Any:
    """The derivative of ``swish``."""
    return sigmoid(x) * (1 + x * (1 - sigmoid(x)))


@equation(
    "6.3",
    r"\mathrm{swish}(x) = x\,\sigma(x), \quad \mathrm{swish}'(x) = \sigma(x)\,\big(1 + x\,(1 - \sigma(x))\big)",
    "PyTorch's silu, algebra (sympy)",
    1e-12,
)
def swish_and_slope(formula: Formula = swish, slope: Formula = swish_slope) -> float:
    """The function against ``torch.nn.functional.silu``, its slope against sympy's derivative of x / (1 + e^-x)."""
    import sympy

    x = torch.linspace(-20, 20, 401, dtype=torch.float64)
    z = sympy.Symbol("z", real=True)
    return largest((formula(x) - F.silu(x), symbolic(slope(z) - sympy.diff(z / (1 + sympy.exp(-z)), z))))


def swish_minimum() -> tuple[float, float]:
    """Where ``swish`` is smallest, and how small: with W, Lambert's function, -1 - W(1/e) and -W(1/e)."""
    import sympy

    w = float(sympy.LambertW(sympy.exp(-1)))
    return -1 - w, -w


@equation(
    "6.4",
    r"\mathrm{swish}'(x_*) = 0 \;\Rightarrow\; \mathrm{swish}(x_*) = 1 + x_* = -W(1/e)",
    "minimum found by bisection",
    1e-9,
)
def swish_lowest(formula: Formula = swish_minimum) -> float:
    """Against the point where autograd's slope of PyTorch's silu changes its sign."""
    low, high = -3.0, 0.0
    for _ in range(60):
        middle = (low + high) / 2
        x = torch.tensor(middle, dtype=torch.float64, requires_grad=True)
        (slope,) = torch.autograd.grad(F.silu(x), x)
        low, high = (middle, high) if slope < 0 else (low, middle)
    where, value = formula()
    return largest((where - low, value - low / (1 + math.exp(-low)), value - (1 + where)))


# What is left of a shift


def normalised_after_shift(h: Tensor, shift: Tensor, n_groups: int, eps: float) -> Tensor:
    """Group normalisation of h + shift, from what it sees of the shift.

    Args:
        h: (B, C, H, W).
        shift: (B, C).
    """
    kept = surviving_shift(shift, n_groups)[:, :, None, None]  # (B, C, 1, 1)
    groups = h.reshape(len(h), n_groups, -1)
    spread = kept.expand_as(h).reshape(groups.shape)
    centred = groups - groups.mean(2, keepdim=True)
    var = (centred**2 + 2 * centred * spread + spread**2).mean(2, keepdim=True)
    return ((centred + spread) / (var + eps).sqrt()).reshape(h.shape)


@equation(
    "6.5",
    r"\mathrm{GN}(h + s)_c = \frac{h_c - \mu_g + (s_c - \bar s_g)}"
    r"{\sqrt{\sigma_g^2 + 2\,\mathrm{cov}_g(h, s) + \mathrm{var}_g(s) + \delta}}",
    "PyTorch's group_norm",
    1e-12,
)
def shift_seen(formula: Formula = normalised_after_shift) -> float:
    """Against ``torch.nn.functional.group_norm`` of the sum, from one group to one channel a group."""
    h, shift = 2 * numbers(3, 6, 4, 4) + numbers(3, 6, 1, 1, seed=1), 3 * numbers(3, 6, seed=2)
    moved = h + shift[:, :, None, None]
    return largest(formula(h, shift, g, 1e-6) - F.group_norm(moved, g, eps=1e-6) for g in (1, 2, 3, 6))


@equation(
    "6.6",
    r"\mathrm{rank}\,\frac{\partial\,\mathrm{GN}(h + s)}{\partial s} = C - G",
    "autograd and singular values",
    0.0,
)
def shift_rank(formula: Formula = lambda n_channels, n_groups: n_channels - n_groups) -> float:
    """How many independent ways a shift has to change what comes out of the normalisation."""
    errors = []
    for C, n_groups in ((6, 1), (6, 2), (6, 3), (6, 6), (8, 4), (24, 8)):
        h = numbers(1, C, 3, 3, seed=C)

        def out(shift: Tensor, h: Tensor = h, n_groups: int = n_groups) -> Tensor:
            return F.group_norm(h + shift[None, :, None, None], n_groups, eps=1e-6).flatten()

        jacobian = torch.autograd.functional.jacobian(out, numbers(C, seed=3))  # (C * H * W, C)
        rank = int((torch.linalg.svdvals(jacobian) > 1e-8).sum())
        errors.append(float(rank - formula(C, n_groups)))
    return largest(errors)


# The shortcut


def small_block(in_channels: int, out_channels: int, mixing: bool = False) -> nn.Module:
    """A residual block with random weights everywhere, in float64; ``mixing`` puts a 1x1 convolution in its shortcut.

    With as many channels out as in, such a shortcut tells S from its transpose.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        block = ResidualBlock(in_channels, out_channels, 16, n_groups=2, dropout=0.0)
        if mixing:
            block.shortcut = nn.Conv2d(in_channels, out_channels, kernel_size=1)
        return block.double()


def branch(block: nn.Module, x: Tensor, t_emb: Tensor) -> Tensor:
    """F(x): the block's answer without what the shortcut adds, layer by layer."""
    shift = block.time_emb(F.silu(t_emb))[:, :, None, None]
    h = block.conv1(F.silu(block.norm1(x))) + shift
    return block.conv2(F.silu(block.norm2(h)))


@equation(
    "6.7",
    r"\frac{\partial\,\mathrm{out}}{\partial x} = S + \frac{\partial F}{\partial x}, \quad S = I "
    r"\text{ without a shortcut convolution}",
    "autograd of the block",
    1e-12,
)
def jacobian_with_shortcut(formula: Formula = lambda S, J: S + J) -> float:
    """Jacobians of the whole block and of its branch alone; identity, 1x1 convolution, and a square one."""
    errors = []
    for block in (small_block(4, 4), small_block(4, 6), small_block(4, 4, mixing=True)):
        t_emb, x = numbers(1, 16, seed=1), numbers(1, 4, 3, 3, seed=2)
        n_out = block.conv2.out_channels * 9

        def jacobian(function: Callable[[Tensor], Tensor], x: Tensor = x, n_out: int = n_out) -> Tensor:
            return torch.autograd.functional.jacobian(function, x).reshape(n_out, x.numel())

        J = jacobian(lambda x, block=block, t_emb=t_emb: branch(block, x, t_emb))
        whole = jacobian(lambda x, block=block, t_emb=t_emb: block(x, t_emb))
        errors.append(formula(shortcut_matrix(block, x), J) - whole)
    return largest(errors)


def shortcut_matrix(block: nn.Module, x: Tensor) -> Tensor:
    """S as a matrix over all values: the unit matrix, or the 1x1 convolution applied to every pixel by itself."""
    pixels = x[0, 0].numel()
    mix = torch.eye(x.shape[1]) if isinstance(block.shortcut, nn.Identity) else block.shortcut.weight[:, :, 0, 0]
    return torch.kron(mix.detach().to(x), torch.eye(pixels).to(x))


# Weights


def block_parameters(in_channels: int, out_channels: int, time_channels: int) -> int:
    """How many numbers a residual block learns."""
    first = 2 * in_channels + 9 * in_channels * out_channels + out_channels
    time = time_channels * out_channels + out_channels
    second = 2 * out_channels + 9 * out_channels**2 + out_channels
    shortcut = 0 if in_channels == out_channels else in_channels * out_channels + out_channels
    return first + time + second + shortcut


@equation(
    "6.8",
    r"N = \underbrace{2 C_i + 9\,C_i C_o + C_o}_{\text{norm1, conv1}} + "
    r"\underbrace{(C_t + 1)\,C_o}_{\text{time}} + \underbrace{2 C_o + 9\,C_o^2 + C_o}_{\text{norm2, conv2}} "
    r"+ \underbrace{(C_i + 1)\,C_o}_{\text{shortcut, if } C_i \neq C_o}",
    "the module's weights counted",
    0.0,
)
def weights_counted(formula: Formula = block_parameters) -> float:
    """Against the modules themselves, built without memory; the paper's sizes among them."""
    errors = []
    for sizes in ((128, 128, 512), (128, 256, 512), (512, 256, 512), (32, 64, 8), (64, 32, 100)):
        with torch.device("meta"):
            block = ResidualBlock(*sizes)
        errors.append(float(sum(p.numel() for p in block.parameters()) - formula(*sizes)))
    return largest(errors)
