"""The equations of notebook 09: what a U-Net keeps, holds and does, counted by formula and on the live network."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ddpm_lesson.diffusion import DenoiseDiffusion
from ddpm_lesson.lesson.kit.proof import Formula, ProofBook, largest
from ddpm_lesson.lesson.kit.xray import attention_parameters, blank_unet, counted_macs, hooked, layers
from ddpm_lesson.unet import AttentionBlock, ResidualBlock, UNet, UpBlock

BOOK = ProofBook(9)
equation, prove, ledger = BOOK.equation, BOOK.prove, BOOK.ledger

PAPER = {"image_channels": 3, "n_channels": 128, "ch_mults": (1, 2, 2, 2), "is_attn": (False, True, False, False)}
LSUN = {
    "image_channels": 3,
    "n_channels": 128,
    "ch_mults": (1, 1, 2, 2, 4, 4),
    "is_attn": (False, False, False, False, True, False),
}  # the paper's network for 256 x 256: LSUN and CelebA-HQ
COMPOUNDING = {
    "image_channels": 3,
    "n_channels": 64,
    "ch_mults": (1, 2, 4, 16),  # (1, 2, 2, 4) if every multiplier is taken of the level above
    "is_attn": (False, False, True, True),
    "final_groups": 8,
    "norm_eps": 1e-5,
    "downsample": "symmetric",
    "upsample": "transposed",
    "narrow": "before",
}  # the source document's network, which is labml's
SMALL = (
    {"image_channels": 1, "n_channels": 24, "ch_mults": (1, 2, 4), "is_attn": (False, False, True), "n_blocks": 1},
    {"image_channels": 3, "n_channels": 16, "ch_mults": (2, 1), "is_attn": (True, True), "n_blocks": 3, "n_heads": 2},
    {"image_channels": 1, "n_channels": 32, "ch_mults": (1,), "is_attn": (False,), "n_blocks": 2},
    {"image_channels": 2, "n_channels": 8, "ch_mults": (1, 3, 2), "is_attn": (False, True, False), "narrow": "before"},
)
EIGHT = {"n_groups": 8}  # 32 groups do not divide the small widths


def held(module: nn.Module) -> int:
    """Parameters of a live module."""
    return sum(parameter.numel() for parameter in module.parameters())


# The shape of the U


def maps_kept(n_levels: int, n_blocks: int) -> int:
    """Feature maps that the way down keeps."""
    return n_levels * (n_blocks + 1)


@equation(
    "9.1",
    r"\text{kept maps} = 1 + L n + (L - 1) = L\,(n + 1)",
    "counted while live networks run",
    0.0,
)
def kept_maps(formula: Formula = maps_kept, network: Callable[..., UNet] = UNet) -> float:
    """Against the maps that the blocks of the way up take in, each of which the way down has made and none twice."""
    errors = []
    for levels in (1, 2, 4):
        for blocks in (1, 2, 3):
            unet = network(1, 8, (1,) * levels, (False,) * levels, blocks, n_groups=4)
            made, taken = maps_in_use(unet)
            errors += [formula(levels, blocks) - len(taken), len(made) - len(taken), len(taken) - len(made & taken)]
    return largest(errors)


@torch.no_grad()
def maps_in_use(unet: UNet) -> tuple[set[int], set[int]]:
    """Which maps the first convolution and the way down make, and which the way up takes from across, in one pass."""
    made, taken, alive = set(), set(), []

    def note(_: nn.Module, __: tuple, output: Tensor) -> None:
        alive.append(output)  # so that no other map gets its place in memory
        made.add(id(output))

    hooks = [module.register_forward_hook(note) for module in (unet.image_proj, *unet.down)]
    blocks = [module for module in unet.up if isinstance(module, UpBlock)]
    hooks += [block.register_forward_pre_hook(lambda _, given: taken.add(id(given[1]))) for block in blocks]
    with hooked(hooks):
        unet(torch.zeros(1, 1, 16, 8), torch.tensor([0]))
    return made, taken


@equation(
    "9.2",
    r"\epsilon_\theta = 0 \;\Rightarrow\; \mathbb{E}\,(\epsilon - \epsilon_\theta)^2 = 1",
    "Monte Carlo, 5 standard errors",
    1.4e-2,
)
def untrained_loss(formula: Formula = UNet) -> float:
    """A fresh network answers 0, and its loss on 262,144 values is 1: the standard error is sqrt(2 / 262144)."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        x0 = torch.rand(256, 1, 32, 32) * 2 - 1
        unet = formula(1, 8, (1, 2), (False, True), 1, n_groups=4)
        with torch.no_grad():
            answers = bool(unet(x0[:4], torch.arange(4)).any())
            return torch.inf if answers else abs(float(DenoiseDiffusion(unet).loss(x0)) - 1)


# Parameters


def conv_parameters(c_in: int, c_out: int, k: int = 3) -> int:
    """A k x k convolution with bias."""
    return k**2 * c_in * c_out + c_out


def residual_parameters(c_in: int, c_out: int, d: int) -> int:
    """A residual block with a time embedding of size d (``ResidualBlock``)."""
    convs = conv_parameters(c_in, c_out) + conv_parameters(c_out, c_out)
    norms, time = 2 * c_in + 2 * c_out, d * c_out + c_out
    shortcut = conv_parameters(c_in, c_out, 1) if c_in != c_out else 0
    return convs + norms + time + shortcut


WIDTHS = ((8, 8), (8, 24), (64, 32), (128, 256))


@equation(
    "9.3",
    r"K_k(c, c') = k^2 c\,c' + c'",
    "counting on live modules",
    0.0,
)
def parameters_of_a_convolution(formula: Formula = conv_parameters) -> float:
    """Against ``torch.nn.Conv2d``."""
    return largest(formula(i, o, k) - held(nn.Conv2d(i, o, k)) for i, o in WIDTHS for k in (1, 3, 4))


@equation(
    "9.4",
    r"R(c, c') = K_3(c, c') + K_3(c', c') + (d + 1)\,c' + 2c + 2c' + [c \neq c']\,K_1(c, c')",
    "counting on live modules",
    0.0,
)
def parameters_of_a_residual_block(formula: Formula = residual_parameters) -> float:
    """Against ``ResidualBlock``."""
    return largest(formula(i, o, d) - held(ResidualBlock(i, o, d, n_groups=8)) for i, o in WIDTHS for d in (16, 512))


@equation("9.5", r"A(c) = 4c^2 + 6c", "counting on live modules", 0.0)
def parameters_of_attention(formula: Formula = attention_parameters) -> float:
    """Against ``AttentionBlock``, with one head and with several."""
    return largest(formula(c) - held(AttentionBlock(c, heads, n_groups=8)) for c in (8, 64, 256) for heads in (1, 4))


def unet_parameters(
    image_channels: int,
    n_channels: int,
    ch_mults: Sequence[int],
    is_attn: Sequence[bool],
    n_blocks: int = 2,
    upsample: str = "nearest",
    narrow: str = "after",
    **_: Any,
) -> int:
    """All parameters of a ``UNet``, as a sum over its levels; settings that hold none are ignored."""
    widths = [n_channels * m for m in ch_mults]
    last, d = len(widths) - 1, 4 * n_channels
    up_kernel = 4 if upsample == "transposed" else 3
    total = conv_parameters(image_channels, n_channels) + (n_channels + 1) * d + (d + 1) * d
    for i, w in enumerate(widths):
        above = widths[i - 1] if i > 0 else n_channels
        below = widths[i + 1] if i < last and narrow == "after" else w
        end = above if narrow == "before" else w  # width of what leaves the level upwards
        total += residual_parameters(above, w, d) + (n_blocks - 1) * residual_parameters(w, w, d)
        total += residual_parameters(below + w, w, d) + (n_blocks - 1) * residual_parameters(2 * w, w, d)
        total += residual_parameters(w + above, end, d)
        total += is_attn[i] * (2 * n_blocks * attention_parameters(w) + attention_parameters(end))
        total += (i < last) * conv_parameters(w, w) + (i > 0) * conv_parameters(end, end, up_kernel)
    total += 2 * residual_parameters(widths[-1], widths[-1], d) + attention_parameters(widths[-1])
    first = n_channels if narrow == "before" else widths[0]
    return total + 2 * first + conv_parameters(first, image_channels)


@equation(
    "9.6",
    r"P = \text{ends} + \text{middle} + \sum_i \big(\text{down}_i + \text{up}_i\big)",
    "counting on seven live networks",
    0.0,
)
def parameters_of_the_network(formula: Formula = unet_parameters) -> float:
    """Against the paper's networks, the source document's, and four small ones."""
    networks = [PAPER, LSUN, COMPOUNDING, *(settings | EIGHT for settings in SMALL)]
    return largest(formula(**settings) - held(blank_unet(**settings)) for settings in networks)


def by_three(first: int, second: int, third: int) -> int:
    """The value at 4C of the parabola through those at C, 2C and 3C."""
    return first - 3 * second + 3 * third


@equation(
    "9.7",
    r"P(C) = a\,C^2 + b\,C + e",
    "counting on live networks of four widths",
    0.0,
)
def parameters_grow_with_the_square(formula: Formula = by_three) -> float:
    """The parabola through three widths must meet a fourth."""
    errors = []
    for settings in (PAPER, LSUN, COMPOUNDING):
        counts = [held(blank_unet(**{**settings, "n_channels": 32 * k})) for k in (1, 2, 3, 4)]
        errors.append(formula(*counts[:3]) - counts[3])
    return largest(errors)


# Multiply-adds


def conv_macs(c_in: int, c_out: int, side: int, k: int = 3) -> int:
    """A k x k convolution that puts out a map of side x side."""
    return k**2 * c_in * c_out * side**2


def attention_macs(c: int, side: int) -> int:
    """The linear layers, and the two products of pixels with pixels."""
    n = side**2
    return 4 * c**2 * n + 2 * c * n**2


@equation(
    "9.8",
    r"\text{conv: } k^2 c\,c'\,H W, \qquad \text{attention: } 4 c^2 H W + 2 c\,(H W)^2",
    "torch's flop counter",
    0.0,
)
def multiply_adds(conv: Formula = conv_macs, attention: Formula = attention_macs) -> float:
    """Layers by formula against torch's counter, and whole networks by the X-ray."""
    errors = []
    for c_in, c_out, side, k in ((8, 16, 8, 3), (24, 8, 6, 1), (16, 16, 4, 3)):
        module = nn.Conv2d(c_in, c_out, k, padding=k // 2)
        errors.append(conv(c_in, c_out, side, k) - counted_macs(module, torch.zeros(1, c_in, side, side)))
    for c, side, heads in ((16, 8, 1), (32, 4, 4)):
        module = AttentionBlock(c, heads, n_groups=8)
        errors.append(attention(c, side) - counted_macs(module, torch.zeros(1, c, side, side)))
    for settings in SMALL:
        unet = UNet(**settings | EIGHT)
        counted = counted_macs(unet, torch.zeros(1, settings["image_channels"], 16, 16), torch.zeros(1))
        errors.append(sum(layer.macs for layer in layers(unet, 16)) - counted)
    return largest(errors)
