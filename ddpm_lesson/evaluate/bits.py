"""Bits per dimension over a data set: the whole bound, an unbiased estimate of it, and rate against distortion."""

from typing import NamedTuple

import torch
from torch import Tensor

from ddpm_lesson.bound import Bound, bound_term, per_dimension, prior_bits, variational_bound
from ddpm_lesson.diffusion import DenoiseDiffusion
from ddpm_lesson.pictures import markdown_table
from ddpm_lesson.sample import eval_mode


class BitsPerDim(NamedTuple):
    """The bound over a set of images, in bits per dimension; renders as a table in a notebook."""

    L_T: float
    L_t: Tensor | None  # (T,) mean of every term, index 0 is L_0; None if only some times were drawn
    rate: float  # L_T and all L_t but L_0: what a receiver needs for x_1
    distortion: float  # L_0: what it takes to get from there to the bytes
    total: float
    error: float  # standard error of the total
    n_images: int
    n_times: int  # terms of the rate that were drawn for each image

    def row(self) -> tuple[str, ...]:
        """The cells of a table."""
        numbers = (f"{x:.3f}" for x in (self.rate, self.distortion))
        return (
            f"{self.L_T:.1e}",
            *numbers,
            f"{self.total:.3f} ± {self.error:.3f}",
            f"{self.n_images:,}",
            f"{self.n_times}",
        )

    def _repr_markdown_(self) -> str:
        return markdown_table(BITS_HEADER, [self.row()])


BITS_HEADER = ("L_T", "rate", "distortion L_0", "bits/dim, at most", "images", "times an image")


def bits_per_dim(
    diffusion: DenoiseDiffusion,
    images: Tensor,
    n_times: int | None = None,
    generator: torch.Generator | None = None,
    batch_size: int = 128,
) -> BitsPerDim:
    """The bound on the negative log-likelihood of a set of images.

    Ho et al. 2020, Eq. 5 and section 4.3.

    Args:
        diffusion: the model, of at least two steps.
        images: (N, C, H, W) in [-1, 1], bytes scaled linearly.
        n_times: how many of the T-1 terms of the rate to draw for each image, for an unbiased estimate; all of them,
            in T passes of the network an image, unless given. L_T and L_0 are always computed.
        generator: where times and noise come from.
        batch_size: images at once.

    Raises:
        ValueError: if there are fewer than two images, or ``n_times`` is out of range.
    """
    if len(images) < 2:
        raise ValueError(f"images must hold at least two images, for a standard error; got {len(images)}")
    check_n_times(diffusion, n_times)

    def bound(batch: Tensor) -> Bound:
        if n_times is None:
            return variational_bound(diffusion, batch, generator)
        return estimated_bound(diffusion, batch, n_times, generator)

    bounds = [bound(batch.to(diffusion.device)) for batch in images.split(batch_size)]
    return summary(Bound(*(torch.cat(parts).cpu().double() for parts in zip(*bounds, strict=True))), n_times)


def check_n_times(diffusion: DenoiseDiffusion, n_times: int | None) -> None:
    """Raise a ValueError unless a bound of so many terms can be drawn."""
    if n_times is not None and not (type(n_times) is int and 1 <= n_times < diffusion.n_steps):
        raise ValueError(f"n_times must lie in 1 .. {diffusion.n_steps - 1}, or be None for all; got {n_times}")


def summary(bound: Bound, n_times: int | None) -> BitsPerDim:
    """Means over the images of a bound with all its terms, or, if ``n_times`` is given, L_0 and the sum of the rest."""
    total = bound.total
    return BitsPerDim(
        L_T=float(bound.L_T.mean()),
        L_t=bound.L_t.mean(0) if n_times is None else None,
        rate=float((total - bound.L_0).mean()),
        distortion=float(bound.L_0.mean()),
        total=float(total.mean()),
        error=float(total.std()) / len(total) ** 0.5,
        n_images=len(total),
        n_times=n_times or bound.L_t.shape[1] - 1,
    )


@torch.no_grad()
def estimated_bound(
    diffusion: DenoiseDiffusion, x0: Tensor, n_times: int, generator: torch.Generator | None = None
) -> Bound:
    """The bound for every image of a batch with ``n_times`` of the terms t = 1 .. T-1 instead of all; unbiased.

    A term that is drawn with probability p counts 1 / (n_times p). Early times are drawn more often, since they are
    worth more bits: p falls as 1 / t, down to half of an even share.

    Returns:
        A ``Bound`` whose ``L_t`` is (B, 2): L_0 and the estimated sum of the others.
    """
    p, model = time_probabilities(diffusion.n_steps), eval_mode(diffusion)
    rate = torch.zeros(len(x0), device=x0.device)
    for t in spread_times(p, len(x0), n_times, generator):
        rate += bound_term(model, x0, t, generator)[0] / (n_times * p[t]).to(x0.device)
    L_0, _ = bound_term(model, x0, 0, generator)
    L_T = prior_bits(diffusion.schedule, x0).float().to(x0)
    return Bound(L_T, torch.stack((L_0, rate), dim=1), L_T + L_0 + rate)


def time_probabilities(n_steps: int) -> Tensor:
    """How often to draw t = 0 .. T-1: never 0, and t >= 1 half evenly, half as 1 / t. (T,), sum 1."""
    inverse = 1 / torch.arange(1, n_steps, dtype=torch.float64)
    even = torch.full_like(inverse, 1 / len(inverse))
    return torch.cat((torch.zeros(1, dtype=torch.float64), (even + inverse / inverse.sum()) / 2)).float()


def spread_times(p: Tensor, n: int, n_times: int, generator: torch.Generator | None = None) -> Tensor:
    """``n_times`` times for each of ``n`` images, (n_times, n), spread over the distribution ``p``; on the CPU.

    One uniform number an image shifts a comb of ``n_times`` teeth, so that each time comes up n_times p[t] times on
    average and never far from it.
    """
    device = "cpu" if generator is None else generator.device
    start = torch.rand(n, generator=generator, device=device).cpu()
    comb = (torch.arange(n_times)[:, None] + start) / n_times
    cumulative = p.double().cumsum(0)
    return torch.searchsorted(cumulative, comb.double() * cumulative[-1], right=True).clamp(max=len(p) - 1)


# Rate and distortion


class RateDistortion(NamedTuple):
    """What a receiver knows of the images after each part of the message."""

    bits: Tensor  # (T,) the terms, index 0 is L_0; bits per dimension
    rate: Tensor  # (T,) bits per dimension that it has once it holds x_t: L_T and the terms above t
    rmse: Tensor  # (T,) error of its guess x0_hat from x_t, on the scale 0 .. 255


@torch.no_grad()
def rate_distortion(
    diffusion: DenoiseDiffusion, images: Tensor, generator: torch.Generator | None = None, batch_size: int = 128
) -> RateDistortion:
    """Progressive coding: rate against distortion, for a receiver who gets x_T first and then one step after another.

    Ho et al. 2020, section 4.3 and Fig. 5. Takes T passes of the network an image.

    Args:
        diffusion: the model.
        images: (N, C, H, W) in [-1, 1].
        generator: where the noise comes from.
        batch_size: images at once.
    """
    model, sums = eval_mode(diffusion), torch.zeros(2, diffusion.n_steps, dtype=torch.float64)
    for x0 in (batch.to(diffusion.device) for batch in images.split(batch_size)):
        for t in range(model.n_steps):
            bits, x0_hat = bound_term(model, x0, t, generator)
            sums[0, t] += bits.sum().cpu()
            sums[1, t] += per_dimension((x0_hat - x0).square()).sum().cpu()
    bits, squares = sums / len(images)
    L_T = float(prior_bits(diffusion.schedule, images).mean())
    return RateDistortion(bits, rate_of(bits, L_T), 127.5 * squares.sqrt())


def rate_of(bits: Tensor, L_T: float) -> Tensor:
    """Bits that have arrived when x_t is known: L_T and the terms above t. (T,)"""
    return L_T + bits.sum() - bits.cumsum(0)
