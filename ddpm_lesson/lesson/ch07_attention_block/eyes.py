"""Tiny pictures of two eyes of one colour, far apart, and denoisers that can or cannot compare them.

What the best guess is can be computed exactly, for someone who sees both eyes and for someone who sees only one.
"""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ddpm_lesson.diffusion import DenoiseDiffusion
from ddpm_lesson.lesson.ch07_attention_block.experiments import without_norm
from ddpm_lesson.sample import sample
from ddpm_lesson.schedule import NoiseSchedule
from ddpm_lesson.unet import AttentionBlock, Swish, TimeEmbedding

HEIGHT, WIDTH = 4, 16
BLUE = torch.tensor([-0.9, -0.1, 0.7])  # and its opposite is amber; half-way between is the grey of the background


def eye_masks() -> Tensor:
    """Where the left and the right eye are, (2, HEIGHT, WIDTH), of 0 and 1: two squares of 2x2 pixels."""
    masks = torch.zeros(2, HEIGHT, WIDTH)
    masks[0, 1:3, 1:3] = masks[1, 1:3, -3:-1] = 1
    return masks


def eyes(n: int, generator: torch.Generator | None = None) -> Tensor:
    """``n`` pictures, half of them with two blue eyes, the others with two amber ones: (n, 3, HEIGHT, WIDTH)."""
    sign = torch.randint(2, (n, 1, 1, 1), generator=generator) * 2.0 - 1
    return sign * patterns().sum(0)


def patterns() -> Tensor:
    """The left and the right eye in blue, 0 elsewhere: (2, 3, HEIGHT, WIDTH)."""
    return BLUE[:, None, None] * eye_masks()[:, None]


def matching(x0: Tensor) -> float:
    """The share of pictures whose eyes have one colour, each that to which it comes closest."""
    left, right = torch.einsum("bchw,nchw->nb", x0, patterns()) > 0  # True for blue
    return float((left == right).float().mean())


def best_guess(xt: Tensor, alpha_bar: Tensor, *, sees_both: bool) -> Tensor:
    """E[x0 | x_t], or the best guess for each eye of someone who cannot see the other one.

    Of the two colours +-u, the mean is u tanh(sqrt(alpha_bar) <u, x_t> / (1 - alpha_bar)), by Bayes; ``xt`` is
    (B, 3, HEIGHT, WIDTH), ``alpha_bar`` (B, 1).
    """
    u = patterns().sum(0, keepdim=True) if sees_both else patterns()  # each is judged by itself
    evidence = torch.einsum("bchw,nchw->bn", xt, u) * alpha_bar.sqrt() / (1 - alpha_bar)
    return torch.einsum("bn,nchw->bchw", evidence.tanh(), u)


class ConvBranch(nn.Module):
    """A convolution added to its input, in the place where attention may stand."""

    def __init__(self, n_channels: int):
        super().__init__()
        self.conv = nn.Conv2d(n_channels, n_channels, kernel_size=3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        return x + self.conv(F.silu(x))


class EyeDenoiser(nn.Module):
    """A tiny network of 3x3 convolutions, with attention or one more convolution in the middle.

    It has no normalisation, not even in front of attention, because the mean and variance of a group are taken over
    the whole picture: a narrow door, but one through which far pixels would meet.

    Args:
        schedule: of the noise; the network guesses the image, and turns that into a guess of the noise.
        has_attn: attention in the middle instead of a convolution.
        n_channels: width, a multiple of 4.
    """

    def __init__(self, schedule: NoiseSchedule, *, has_attn: bool, n_channels: int = 16):
        super().__init__()
        self.process = DenoiseDiffusion(nn.Identity(), schedule=schedule)
        self.time = nn.Sequential(TimeEmbedding(16), Swish(), nn.Linear(16, 2 * n_channels))
        self.first = nn.Conv2d(3, n_channels, kernel_size=3, padding=1)
        self.before = ConvBranch(n_channels)
        self.middle = without_norm(AttentionBlock(n_channels, n_groups=4)) if has_attn else ConvBranch(n_channels)
        self.after = ConvBranch(n_channels)
        self.last = nn.Conv2d(n_channels, 3, kernel_size=3, padding=1)

    def guess(self, xt: Tensor, t: Tensor) -> Tensor:
        """x0_hat for noisy pictures (B, 3, HEIGHT, WIDTH) at times (B,)."""
        shift, later = self.time(t)[:, :, None, None].chunk(2, dim=1)
        h = self.middle(self.before(self.first(xt) + shift))
        return self.last(F.silu(self.after(h + later)))

    def forward(self, xt: Tensor, t: Tensor) -> Tensor:
        """eps_theta, the noise that turns the guess into ``xt``."""
        return self.process.predict_eps(xt, t, self.guess(xt, t))


def eye_schedule() -> NoiseSchedule:
    """A short schedule, so that sampling is quick."""
    return NoiseSchedule.linear(50, 1e-3, 0.2)


def noisy_eyes(schedule: NoiseSchedule, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Clean pictures, their noisy versions, and the times of these, (n,)."""
    x0 = eyes(n, generator)
    t = torch.randint(schedule.n_steps, (n,), generator=generator)
    eps = torch.randn(x0.shape, generator=generator)
    return x0, DenoiseDiffusion(nn.Identity(), schedule=schedule).q_sample(x0, t, eps), t


def train_eyes(model: EyeDenoiser, n_steps: int = 500, seed: int = 0) -> Iterator[float]:
    """Train on the squared error of the guessed image; yields the loss of every step."""
    schedule, generator = model.process.schedule, torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    slower = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, n_steps)
    for _ in range(n_steps):
        x0, xt, t = noisy_eyes(schedule, 32, generator)
        loss = F.mse_loss(model.guess(xt, t), x0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        slower.step()
        yield loss.item()


@torch.no_grad()
def eye_error(model: EyeDenoiser, n: int = 4096, seed: int = 9) -> float:
    """Mean squared error of the guessed image at a random time, per value of an eye; new pictures."""
    x0, xt, t = noisy_eyes(model.process.schedule, n, torch.Generator().manual_seed(seed))
    return per_eye_value(model.guess(xt, t) - x0)


def best_error(schedule: NoiseSchedule, *, sees_both: bool, n: int = 4096, seed: int = 9) -> float:
    """What ``eye_error`` is for the best guess there is."""
    x0, xt, t = noisy_eyes(schedule, n, torch.Generator().manual_seed(seed))
    return per_eye_value(best_guess(xt, schedule.alpha_bar[t][:, None], sees_both=sees_both) - x0)


def per_eye_value(error: Tensor) -> float:
    """The sum of squares, divided by the number of values in the eyes of a picture, on average."""
    return float(error.square().sum((1, 2, 3)).mean() / (3 * eye_masks().sum()))


def draw_eyes(model: EyeDenoiser, n: int = 200, seed: int = 1) -> Tensor:
    """Pictures from the trained network, by Algorithm 2: (n, 3, HEIGHT, WIDTH)."""
    diffusion = DenoiseDiffusion(model, schedule=model.process.schedule)
    return sample(diffusion, (n, 3, HEIGHT, WIDTH), generator=torch.Generator().manual_seed(seed))
