"""Three samplers, one model: what a number of steps is worth, and what it does to the noise on the way."""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ddpm_lesson.diffusion import DenoiseDiffusion
from ddpm_lesson.sample.steps import ReverseStep, ddim_steps, ddpm_steps, final_samples
from ddpm_lesson.schedule import NoiseSchedule

Sampler = Callable[[DenoiseDiffusion, Sequence[int], int, torch.Generator | None], Iterator[ReverseStep]]


def ddim(eta: float) -> Sampler:
    """DDIM with this eta."""
    return lambda model, shape, n, generator: ddim_steps(model, shape, n, eta, generator)


SAMPLERS: dict[str, Sampler] = {  # name -> steps(diffusion, shape, n_steps, generator)
    "beta": lambda model, shape, n, generator: ddpm_steps(model, shape, generator, n_steps=n, sigma="beta"),
    "posterior": lambda model, shape, n, generator: ddpm_steps(model, shape, generator, n_steps=n, sigma="posterior"),
    "ddim": ddim(0.0),
}


class Lap(NamedTuple):
    """How one sampler did with one number of steps."""

    sampler: str
    n_steps: int  # the network is asked once a step
    distance: float


def race(
    diffusion: DenoiseDiffusion,
    measure: Callable[[Tensor], float],
    shape: Sequence[int],
    steps: Sequence[int],
    *,
    samplers: Sequence[str] = tuple(SAMPLERS),
    seed: int = 0,
) -> Iterator[Lap]:
    """Draw samples with every sampler and every number of steps, and measure them.

    Args:
        diffusion: one model for all.
        measure: of a batch of samples, the smaller the better.
        shape: of the batch.
        steps: numbers of steps to try.
        samplers: names out of ``SAMPLERS``.
        seed: every run draws the same start.

    Yields:
        One ``Lap`` a sampler and number of steps.
    """
    for name in samplers:
        for n in steps:
            samples = final_samples(SAMPLERS[name](diffusion, shape, n, torch.Generator().manual_seed(seed)))
            yield Lap(name, n, float(measure(samples)))


def noise_on_the_way(schedule: NoiseSchedule, sigma: str = "beta") -> Tensor:
    """How much noise the reverse process holds at every time, over what it should hold there, as standard deviations.

    For a network that knows the image (data that are one point): x_{t-1} keeps a share of the noise in x_t, and gets
    fresh noise of variance sigma^2.

    Args:
        schedule: of the chain; ``NoiseSchedule.spaced`` for fewer steps.
        sigma: ``"beta"`` or ``"posterior"``.

    Returns:
        (T,) in float64; 1 at the last time, from which sampling starts.
    """
    s = schedule.to(torch.float64)
    fresh = s.beta if sigma == "beta" else s.beta_tilde
    var = [s.one_minus_alpha_bar[-1]]
    for t in range(s.n_steps - 1, 0, -1):
        kept = s.alpha[t].sqrt() * s.one_minus_alpha_bar_prev[t] / s.one_minus_alpha_bar[t]  # coefficient of x_t
        var.insert(0, kept**2 * var[0] + fresh[t])
    return (torch.stack(var) / s.one_minus_alpha_bar).sqrt()
