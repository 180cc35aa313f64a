"""Changing the resolution: sizes, what a pixel sees, where checkerboards come from, and what the skips carry.

Sizes and positions are those of one axis; height and width are treated alike. Pixel i lies at position i.
"""

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ddpm_lesson.data import ImageDataset
from ddpm_lesson.diffusion import DenoiseDiffusion
from ddpm_lesson.lesson.kit.adam import steps_of_adam
from ddpm_lesson.lesson.kit.influence import influence
from ddpm_lesson.lesson.kit.probe import fresh_noise
from ddpm_lesson.lesson.kit.xray import bridges, hooked, parts
from ddpm_lesson.sample import eval_mode
from ddpm_lesson.train import TrainConfig, TrainState, train
from ddpm_lesson.unet import AttentionBlock, Swish, UNet

METHODS = ("transposed", "nearest + conv")


# Sizes


def conv_size(n: int, kernel: int, stride: int = 1, before: int = 0, after: int = 0) -> int:
    """Pixels that come out of a convolution over ``n`` pixels, padded ``before`` and ``after``.

    Dumoulin and Visin 2016, relationship 5, with a padding for each side.
    """
    return (n + before + after - kernel) // stride + 1


def transposed_size(n: int, kernel: int, stride: int = 1, crop: int = 0) -> int:
    """Pixels that come out of a transposed convolution; ``crop``, PyTorch's padding, is cut off on both sides.

    Dumoulin and Visin 2016, relationship 13.
    """
    return (n - 1) * stride + kernel - 2 * crop


# What a pixel sees


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
    """For stages of the network: how much each pixel of ``xt`` moves the pixel in the middle, (H, W) each.

    Args:
        model: the network; it is asked in evaluation mode and left as it was.
        xt: (1, C, H, W).
        t: its time.
        names: of stages, see ``stages``; all unless given.
    """
    kept: dict[str, Tensor] = {}

    def keep(name: str) -> Callable[..., None]:
        return lambda _, __, answer: kept.update({name: answer})

    xt = xt.detach().to(next(model.parameters())).requires_grad_()
    with hooked(model.get_submodule(name).register_forward_hook(keep(name)) for name in names or stages(model)):
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


# Checkerboards


def taps_at(phase: int, kernel: int, stride: int) -> int:
    """How many taps of a transposed convolution reach an output pixel inside, at position ``phase`` modulo the stride.

    Odena et al. 2016, Deconvolution and Checkerboard Artifacts; in two dimensions they multiply.
    """
    return -(-(kernel - phase) // stride)


def nyquist_gain(weight: Tensor) -> Tensor:
    """Size of the checkerboard that a transposed convolution of stride 2 draws on a constant image of ones.

    Args:
        weight: (k, k); the taps count with alternating sign.
    """
    sign = 1 - 2 * (torch.arange(len(weight)) % 2).to(weight)
    return (weight * sign * sign[:, None]).sum().abs() / 4


def nearest_kernel(weight: Tensor) -> Tensor:
    """The 4x4 kernel with which a transposed convolution does what "repeat, then convolve 3x3" does.

    Args:
        weight: (C_out, C_in, 3, 3), as in ``Upsample.conv``.

    Returns:
        (C_in, C_out, 4, 4), for a stride of 2 and a crop of 1.
    """
    turned = weight.flip(-1, -2).transpose(0, 1)
    kernel = weight.new_zeros(*turned.shape[:2], 4, 4)
    for a in (0, 1):
        for b in (0, 1):
            kernel[..., a : a + 3, b : b + 3] += turned
    return kernel


def enlarge(image: Tensor, weight: Tensor, stride: int, method: str) -> Tensor:
    """Make an image ``stride`` times as large with a kernel, and cut off what the border reaches.

    Args:
        image: (H, W).
        weight: (k, k).
        method: one of ``METHODS``.

    Returns:
        (stride * (H - 2 m), stride * (W - 2 m)) with m, the margin in input pixels, the kernel's side.

    Raises:
        ValueError: if the method is unknown.
    """
    k = len(weight)
    if method == "transposed":
        large = F.conv_transpose2d(image[None, None], weight[None, None], stride=stride)[0, 0]
    elif method == "nearest + conv":
        repeated = image.repeat_interleave(stride, 0).repeat_interleave(stride, 1)
        large = F.conv2d(repeated[None, None], weight[None, None])[0, 0]
    else:
        raise ValueError(f"method must be one of {', '.join(METHODS)}; got {method!r}")
    H, W = (stride * (n - 2 * k) for n in image.shape)
    return large[stride * k :, stride * k :][:H, :W]


def unevenness(image: Tensor) -> float:
    """Standard deviation over root mean square: 0 for a flat image, 1 for one that is pattern and nothing else."""
    return float(image.std(correction=0) / image.square().mean().sqrt().clamp_min(1e-12))


def spectrum(image: Tensor) -> tuple[Tensor, Tensor]:
    """Frequencies along a row in cycles per pixel, 0 to 1/2, and the amplitude at each.

    Args:
        image: (H, W).

    Returns:
        two tensors (W // 2 + 1,); amplitudes are root mean squares over all frequencies down the columns.
    """
    bins = torch.fft.fft2(image.double()).abs() / image.numel()
    return torch.fft.rfftfreq(image.shape[1]), bins.square().sum(0).sqrt()[: image.shape[1] // 2 + 1]


def learn_upsampling(layer: nn.Module, x0: Tensor, n_steps: int = 200, seed: int = 0) -> nn.Module:
    """A small network around an upsampling layer, trained to undo the averaging of 2x2 pixels.

    Args:
        layer: doubles the sides of (B, C, H, W); its convolution tells C.
        x0: images, (B, 1, H, W) in [-1, 1], with even sides.
        n_steps: of Adam, with 64 images each.
        seed: of batches and weights; those of ``layer`` stay as they are.
    """
    C = next(layer.parameters()).shape[1]
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        first, last = nn.Conv2d(1, C, 3, padding=1), nn.Conv2d(C, 1, 3, padding=1)
    network = nn.Sequential(first, Swish(), layer, Swish(), last)

    def loss() -> Tensor:
        batch = x0[torch.randint(len(x0), (64,), generator=generator)]
        return F.mse_loss(network(F.avg_pool2d(batch, 2)), batch)

    steps_of_adam(network, loss, n_steps, lr=3e-3)
    return network


# Skips


def up_channels(n_channels: int, ch_mults: Sequence[int], n_blocks: int) -> list[int]:
    """Channels that enter each up block: those from below and those of its skip, for ``narrow="after"``.

    Ho et al. 2020, Appendix B, and the authors' code.
    """
    w, last = [n_channels, *(n_channels * m for m in ch_mults)], len(ch_mults)  # w[0] leaves the first convolution
    blocks = [(i, j) for i in range(last, 0, -1) for j in range(n_blocks + 1)]
    return [w[min(i + (j == 0), last)] + w[i - (j == n_blocks)] for i, j in blocks]


@contextmanager
def without_skips(model: UNet, names: Sequence[str], below: Sequence[str] = ()) -> Iterator[None]:
    """While this lasts, the named up blocks get zeros in place of their skips, or of what comes from below.

    Args:
        model: the network; it may be trained meanwhile.
        names: of up blocks that lose their skips, such as ``"up.0"``; see ``up_blocks``.
        below: of up blocks that lose what comes from below.

    Raises:
        ValueError: if a name is none of an up block.
    """
    known, taken = up_blocks(model), [*names, *below]
    if not set(taken) <= set(known):
        raise ValueError(f"names must be among {', '.join(known)}; got {', '.join(taken)}")

    def zeroed(place: int) -> Callable[..., tuple[Tensor, ...]]:  # among x, skip and t_emb
        return lambda _, args: tuple(torch.zeros_like(x) if i == place else x for i, x in enumerate(args))

    those = [(1, name) for name in names] + [(0, name) for name in below]
    with hooked(model.get_submodule(name).register_forward_pre_hook(zeroed(place)) for place, name in those):
        yield


def up_blocks(model: UNet) -> list[str]:
    """Names of the blocks that take in a skip, in the order of the way up."""
    return [block.name for _, block in bridges(model)]


class Guess(NamedTuple):
    """What a network makes of noisy images, and how far off it is."""

    xt: Tensor  # (B, C, H, W), with the first noise
    x0_hat: Tensor  # the guess of the image from there, in [-1, 1]
    losses: Tensor  # (B,), squared error of the noise of each image, averaged over its values and over all noises

    @property
    def loss(self) -> float:
        """Mean over the images."""
        return float(self.losses.mean())


def with_error(losses: Tensor) -> str:
    """Mean and standard error of losses, one an image, or of their differences."""
    return f"{float(losses.mean()):.4f} ± {float(losses.std() / len(losses) ** 0.5):.4f}"


SKIPLESS = TrainConfig(
    data="digits", image_size=16, n_channels=8, ch_mults=(1, 2, 2), is_attn=(False, False, False), n_groups=4,
    n_blocks=1, dropout=0.0, batch_size=16, lr=4e-3, train_steps=100, warmup_steps=10, cooldown_steps=30,
)  # fmt: skip


def train_without(
    names: Sequence[str] | None, images: ImageDataset, seed: int = 0
) -> tuple[DenoiseDiffusion, list[float]]:
    """A small network trained with some skips at zero, and its loss in every step.

    Args:
        names: of the up blocks that lose their skips; all of them if None.
        images: of 16 x 16 pixels.
        seed: of weights, batches, times and noise.
    """
    state = TrainState(replace(SKIPLESS, seed=seed), images.shape, "cpu")
    unet = state.diffusion.eps_model
    with without_skips(unet, up_blocks(unet) if names is None else names):
        return state.diffusion, [step.loss.item() for step in train(state, images)]


@torch.no_grad()
def guess_without(
    diffusion: DenoiseDiffusion,
    x0: Tensor,
    t: int,
    names: Sequence[str] = (),
    *,
    below: Sequence[str] = (),
    seed: int = 0,
    n_noises: int = 1,
) -> Guess:
    """The guess of the noise, and of the image, with some inputs of up blocks zeroed.

    Args:
        diffusion: a model whose network is a ``UNet``.
        x0: images, (B, C, H, W).
        t: their time.
        names: of the up blocks that get zeros in place of their skips.
        below: of those that get zeros in place of what comes from below.
        seed: of the noise; never that of a sample, see ``fresh_noise``.
        n_noises: how often each image is noised.
    """
    times = torch.full((len(x0),), t, device=x0.device)
    noises = fresh_noise(x0.expand(n_noises, *x0.shape), seed)
    unet = eval_mode(diffusion).eps_model
    xts = [diffusion.q_sample(x0, times, eps) for eps in noises]
    with without_skips(unet, names, below):
        guesses = [unet(xt, times) for xt in xts]
    losses = (torch.stack(guesses) - noises).square().flatten(2).mean((0, 2))
    return Guess(xts[0], diffusion.predict_x0(xts[0], times, guesses[0]).clamp(-1, 1), losses)
