"""Notebook 08: sizes, receptive fields, checkerboards and skips, held against PyTorch, autograd and live networks."""

from collections.abc import Sequence
from itertools import product

import torch
import torch.nn.functional as F
from torch import Tensor

from ddpm_lesson.lesson.ch08_down_up_middle.upsampling import nearest_kernel, taps_at
from ddpm_lesson.lesson.ch08_down_up_middle.windows import conv_size, extent, receptive_fields
from ddpm_lesson.lesson.kit.influence import influence
from ddpm_lesson.lesson.kit.proof import Formula, ProofBook, largest, numbers
from ddpm_lesson.unet import UNet, UpBlock

BOOK = ProofBook(8)
equation, prove, ledger = BOOK.equation, BOOK.prove, BOOK.ledger


STACKS = (
    ((3, 1, 1),),
    ((3, 1, 1), (3, 2, 0), (3, 1, 1)),
    ((3, 2, 1), (3, 2, 1), (3, 1, 1)),
    ((3, 2, 0), (5, 1, 2), (3, 2, 1), (2, 1, 0)),
    ((7, 3, 2), (1, 2, 0), (3, 2, 0)),
)


def measured_fields(layers: Sequence[tuple[int, int, int]]) -> tuple[float, float, float]:
    """Size, jump and centre of the window, seen by autograd through convolutions with random weights."""
    x = numbers(1, 1, 120, 120).requires_grad_()
    y = x
    for i, (kernel, stride, before) in enumerate(layers):
        y = F.conv2d(F.pad(y, [before, kernel] * 2), numbers(1, 1, kernel, kernel, seed=i), stride=stride)
    at = y.shape[-1] // 3
    top, bottom, *_ = extent(influence(y, x, (at, at)))
    next_top, *_ = extent(influence(y, x, (at + 1, at)))
    jump = next_top - top
    return bottom - top + 1, jump, (top + bottom) / 2 - at * jump


@equation(
    "8.1",
    r"r_\ell = r_{\ell-1} + (k_\ell - 1)\,j_{\ell-1}, \quad j_\ell = s_\ell\,j_{\ell-1}, \quad "
    r"c_\ell = c_{\ell-1} + \big(\tfrac{k_\ell - 1}{2} - p_\ell\big)\,j_{\ell-1}",
    "autograd through random convolutions",
    0,
)
def window_of_a_stack(formula: Formula = receptive_fields) -> float:
    """Against the pixels whose gradient is not zero."""
    pairs = [(formula(layers)[-1], measured_fields(layers)) for layers in STACKS]
    return largest(a - b for field, seen in pairs for a, b in zip(field, seen, strict=True))


@equation(
    "8.2",
    r"n_\text{out} = \Big\lfloor \frac{n + p_\text{before} + p_\text{after} - k}{s} \Big\rfloor + 1",
    "PyTorch's convolution",
    0,
)
def size_of_convolution(formula: Formula = conv_size) -> float:
    """Against the size of what ``conv1d`` puts out, for 486 combinations."""
    errors = []
    for n, k, s, before, after in product((8, 9, 28), (1, 2, 3, 4, 5, 7), (1, 2, 3), (0, 1, 2), (0, 1, 3)):
        out = F.conv1d(F.pad(torch.zeros(1, 1, n), (before, after)), torch.zeros(1, 1, k), stride=s)
        errors.append(formula(n, k, s, before, after) - out.shape[-1])
    return largest(errors)


def transposed_size(n: int, kernel: int, stride: int = 1, crop: int = 0) -> int:
    """Pixels that come out of a transposed convolution; ``crop``, PyTorch's padding, is cut off on both sides.

    Dumoulin and Visin 2016, relationship 13.
    """
    return (n - 1) * stride + kernel - 2 * crop


@equation("8.3", r"n_\text{out} = (n - 1)\,s + k - 2p", "PyTorch's transposed convolution", 0)
def size_of_transposed(formula: Formula = transposed_size) -> float:
    """Against the size of what ``conv_transpose1d`` puts out."""
    errors = []
    for n, k, s, crop in product((4, 7, 16), (2, 3, 4, 5), (1, 2, 3), (0, 1)):
        out = F.conv_transpose1d(torch.zeros(1, 1, n), torch.zeros(1, 1, k), stride=s, padding=crop)
        errors.append(formula(n, k, s, crop) - out.shape[-1])
    return largest(errors)


@equation(
    "8.4", r"m(y) = \Big\lceil \frac{k - (y \bmod s)}{s} \Big\rceil", "a transposed convolution of ones with ones", 1e-9
)
def overlap(formula: Formula = taps_at) -> float:
    """Against what reaches each pixel away from the border when every tap and every pixel is 1."""
    errors = []
    for k, s in product((1, 2, 3, 4, 5, 6, 7), (1, 2, 3)):
        ones = torch.ones(1, 1, 12, dtype=torch.float64)
        reached = F.conv_transpose1d(ones, torch.ones(1, 1, k, dtype=torch.float64), stride=s)[0, 0]
        errors += [formula(y % s, k, s) - reached[y] for y in range(k, 12 * s - s + 1)]
    return largest(errors)


def nyquist_gain(weight: Tensor) -> Tensor:
    """Size of the checkerboard that a kernel (k, k) of stride 2 draws on ones: the taps count with alternating sign."""
    sign = 1 - 2 * (torch.arange(len(weight)) % 2).to(weight)
    return (weight * sign * sign[:, None]).sum().abs() / 4


@equation(
    "8.5",
    r"A = \tfrac14\,\Big\lvert \sum_{a,b} (-1)^{a+b}\,K_{ab} \Big\rvert",
    "Fourier transform of the output",
    1e-12,
)
def checkerboard_size(formula: Formula = nyquist_gain) -> float:
    """Against the highest frequency in what stride 2 makes of a constant image, away from the border."""
    errors = []
    for k in (2, 3, 4, 5, 6):
        weight = numbers(k, k, seed=k)
        y = F.conv_transpose2d(torch.ones(1, 1, 20, 20, dtype=torch.float64), weight[None, None], stride=2)[0, 0]
        inside = y[6:38, 6:38]
        errors.append(formula(weight) - torch.fft.fft2(inside)[16, 16].abs() / inside.numel())
    return largest(errors)


@equation("8.6", r"K_{ab} = \sum_{e=0}^{1}\sum_{f=0}^{1} w_{2-a+e,\;2-b+f}", "both ways on random images", 1e-12)
def nearest_is_transposed(formula: Formula = nearest_kernel) -> float:
    """A transposed convolution with this kernel against nearest-neighbour interpolation and a 3x3 convolution."""
    errors = []
    for channels_in, channels_out in ((1, 1), (3, 2), (4, 4)):
        x, w = numbers(2, channels_in, 6, 9), numbers(channels_out, channels_in, 3, 3, seed=1)
        two_steps = F.conv2d(F.interpolate(x, scale_factor=2, mode="nearest"), w, padding=1)
        errors.append(F.conv_transpose2d(x, formula(w), stride=2, padding=1) - two_steps)
    return largest(errors)


def conv_of_parts(x: Tensor, skip: Tensor, weight: Tensor) -> Tensor:
    """A convolution of two concatenated feature maps, as the sum of one for each."""
    of_x, of_skip = weight[:, : x.shape[1]], weight[:, x.shape[1] :]
    return F.conv2d(x, of_x, padding=1) + F.conv2d(skip, of_skip, padding=1)


@equation("8.7", r"W * [x, s] = W_x * x + W_s * s", "PyTorch's convolution of both at once", 1e-12)
def concatenated(formula: Formula = conv_of_parts) -> float:
    """Against ``conv2d`` of the concatenated maps."""
    errors = []
    for below, across, out in ((4, 4, 5), (6, 3, 3)):
        x, skip = numbers(2, below, 5, 6), numbers(2, across, 5, 6, seed=1)
        weight = numbers(out, below + across, 3, 3, seed=2)
        errors.append(formula(x, skip, weight) - F.conv2d(torch.cat((x, skip), 1), weight, padding=1))
    return largest(errors)


def up_channels(n_channels: int, ch_mults: Sequence[int], n_blocks: int) -> list[int]:
    """Channels that enter each up block: those from below and those of its skip, for ``narrow="after"``.

    Ho et al. 2020, Appendix B, and the authors' code.
    """
    w, last = [n_channels, *(n_channels * m for m in ch_mults)], len(ch_mults)  # w[0] leaves the first convolution
    blocks = [(i, j) for i in range(last, 0, -1) for j in range(n_blocks + 1)]
    return [w[min(i + (j == 0), last)] + w[i - (j == n_blocks)] for i, j in blocks]


@equation(
    "8.8",
    r"c_{ij} = \underbrace{w_{i+[j=0]}}_{\text{below}} + \underbrace{w_{i-[j=n]}}_{\text{skip}}",
    "live networks",
    0,
)
def channels_entering(formula: Formula = up_channels) -> float:
    """Against the channels that the blocks of networks expect which run without an error on an image."""
    errors = []
    networks = (16, (1, 2, 4), 1), (16, (1, 2, 2, 3), 2), (16, (3, 1, 2), 3), (32, (2,), 2)
    for n_channels, ch_mults, n_blocks in networks:
        model = UNet(1, n_channels, ch_mults, (False,) * len(ch_mults), n_blocks, n_groups=8).eval()
        with torch.no_grad():
            model(torch.zeros(1, 1, 8, 8), torch.zeros(1))
        found = formula(n_channels, ch_mults, n_blocks)
        wanted = [module.res.norm1.num_channels for module in model.up if isinstance(module, UpBlock)]
        errors.append(len(found) - len(wanted))
        errors += [a - b for a, b in zip(found, wanted, strict=False)]
    return largest(errors)
