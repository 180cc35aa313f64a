"""Where checkerboards come from, and where they do not."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ddpm_lesson.lesson.kit.adam import steps_of_adam
from ddpm_lesson.unet import Swish

METHODS = ("transposed", "nearest + conv")


def taps_at(phase: int, kernel: int, stride: int) -> int:
    """How many taps of a transposed convolution reach an output pixel inside, at position ``phase`` modulo the stride.

    Odena et al. 2016, Deconvolution and Checkerboard Artifacts; in two dimensions they multiply.
    """
    return -(-(kernel - phase) // stride)


def nearest_kernel(weight: Tensor) -> Tensor:
    """The 4x4 kernel with which a transposed convolution does what "repeat, then convolve 3x3" does.

    From (C_out, C_in, 3, 3), as in ``Upsample.conv``, to (C_in, C_out, 4, 4), for a stride of 2 and a crop of 1.
    """
    turned = weight.flip(-1, -2).transpose(0, 1)
    return F.avg_pool2d(F.pad(turned, (1, 1, 1, 1)), 2, stride=1, divisor_override=1)  # sums of 2x2


def enlarge(image: Tensor, weight: Tensor, stride: int, method: str) -> Tensor:
    """Make an image (H, W) ``stride`` times as large with a kernel (k, k), and cut off what the border reaches.

    The result is (stride * (H - 2 k), stride * (W - 2 k)): the margin, in input pixels, is the kernel's side.

    Raises:
        ValueError: if the method is none of ``METHODS``.
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
    """Frequencies along a row of (H, W) in cycles per pixel, 0 to 1/2, and the amplitude at each: (W // 2 + 1,) both.

    Amplitudes are root mean squares over all frequencies down the columns.
    """
    bins = torch.fft.rfft2(image.double()).abs() / image.numel()
    return torch.fft.rfftfreq(image.shape[1]), bins.square().sum(0).sqrt()


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
