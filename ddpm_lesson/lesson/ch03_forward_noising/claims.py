"""What notebook 03 says in numbers, each found anew."""

import math

import torch
from torch import Tensor, nn

from ddpm_lesson.bound import prior_bits
from ddpm_lesson.data import load_images
from ddpm_lesson.diffusion import DenoiseDiffusion
from ddpm_lesson.lesson.ch03_forward_noising.plots import even
from ddpm_lesson.lesson.kit.claim import ClaimBook
from ddpm_lesson.schedule import NoiseSchedule

BOOK = ClaimBook(3)
claim = BOOK.claim


def schedule(kind: str = "linear") -> NoiseSchedule:
    """One of the four, with 1000 steps."""
    return NoiseSchedule.from_settings({"kind": kind, "n_steps": 1000}).to(torch.float64)


def digits(seed: int, n: int = 200) -> Tensor:
    """Some digits of 8 by 8 pixels, (n, 1, 8, 8) in [-1, 1]."""
    images = load_images("digits")[:]
    return images[torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))[:n]]


def grey_levels(seed: int, t: int) -> float:
    """Standard deviation of the noise in bytes at ``t``, in grey levels as dimmed as the image is."""
    diffusion, x0 = DenoiseDiffusion(nn.Identity()), (digits(seed) + 1) * 127.5
    times, generator = torch.full((len(x0),), t), torch.Generator().manual_seed(seed + 100)
    dimmed, _ = diffusion.q_xt_x0(x0, times)
    xt = diffusion.q_sample(x0, times, torch.randn(x0.shape, generator=generator))
    return float((xt - dimmed).std() / diffusion.alpha_bar[t].sqrt())


def likeness(seed: int, scale: float) -> float:
    """Correlation of black and white digits with their own x_T, for data multiplied by ``scale``."""
    x0 = digits(seed).sign() * scale
    eps = torch.randn(x0.shape, generator=torch.Generator().manual_seed(seed + 100))
    xt = DenoiseDiffusion(nn.Identity()).q_sample(x0, torch.full((len(x0),), 999), eps)
    return float(torch.corrcoef(torch.stack((x0.flatten(), xt.flatten())))[0, 1])


@claim("digits have 0.4 to 0.6", low=0.4, high=0.6)
def variance_of_digits(seed: int) -> float:
    """Of 8 by 8 pixels."""
    return float(digits(seed).var())


@claim("The first quarter of the way belongs to the image", low=0.24, high=0.27, seeds=[0])
def quarter(seed: int) -> float:
    """The share of steps before there is more noise than signal."""
    return even(schedule()) / 1000


@claim("it reaches 0 dB at $t = 496$ in code, `sigmoid` at 439, `quadratic` at 418, `linear` at 259", high=0, seeds=[0])
def crossings(seed: int) -> float:
    """The largest difference of the four."""
    told = {"cosine": 496, "sigmoid": 439, "quadratic": 418, "linear": 259}
    return max(abs(even(schedule(kind)) - t) for kind, t in told.items())


@claim("Half-way `linear` is at -11 dB", low=-11.5, high=-10.5, seeds=[0])
def half_way(seed: int) -> float:
    """Signal-to-noise after 500 steps."""
    return float(schedule().snr_db[499])


@claim("have the same sum of $\\beta$, and so nearly the same end", low=0.97, high=1.03, seeds=[0])
def same_end(seed: int) -> float:
    """alpha_bar at the end of `sigmoid` over that of `linear`."""
    return float(schedule("sigmoid").alpha_bar[-1] / schedule().alpha_bar[-1])


@claim("2.1 for the digits in the table ($\\mathbb{E}[x_0^2] = 0.71$)", low=2.0e-5, high=2.2e-5)
def end_of_digits(seed: int) -> float:
    """L_T of the linear schedule in bits/dim."""
    return float(prior_bits(schedule(), digits(seed, 1000)).mean())


@claim("Over 784 pixels it is 0.3 bits, against 0.02 for the linear schedule", low=0.25, high=0.35)
def whole_image(seed: int) -> float:
    """What the quadratic schedule leaves of an image of 28 by 28 pixels, in bits."""
    return 784 * float(prior_bits(schedule("quadratic"), digits(seed)).mean())


@claim("is 0.2 at 28 by 28 pixels, but 1.6 at 256 by 256", low=1.55, high=1.65, seeds=[0])
def brightness(seed: int) -> float:
    """Of 256 by 256 pixels of value 1, in standard deviations of the noise's average."""
    return 256 * math.sqrt(float(schedule().alpha_bar[-1]))


@claim(
    "passes one grey level (a step from one byte to the next, dimmed as the image is) at $t = 259$", low=0.98, high=1.02
)
def one_grey_level(seed: int) -> float:
    """The noise at t = 259, in grey levels."""
    return grey_levels(seed, 259)


@claim("only 3.4 levels at $t = 499$", low=3.35, high=3.5)
def half_way_in_levels(seed: int) -> float:
    """The noise at t = 499, in grey levels."""
    return grey_levels(seed, 499)


@claim("in a single step is finer than a level until about $t = 650$", low=645, high=660, seeds=[0])
def single_step(seed: int) -> float:
    """The first t at which a step's own noise is coarser than a dimmed level."""
    s = schedule()
    return float((s.beta > s.alpha_bar).to(int).argmax())


@claim("the digit never drowns", low=0.5)
def bytes_at_the_end(seed: int) -> float:
    """Correlation of x_T with the image, for bytes."""
    return likeness(seed, 127.5)


@claim("nothing is left at the end. Black and white", low=-0.05, high=0.05)
def nothing_at_the_end(seed: int) -> float:
    """Correlation of x_T with the image, for data in [-1, 1]."""
    return likeness(seed, 1.0)
