"""What people report as bugs and what is none: with a perfect network, in which there is nothing to mend.

And with one that has been trained and learns no more.
"""

from functools import cache

import torch
from torch import Tensor, nn

from ddpm_lesson import checkpoint
from ddpm_lesson.data import load_images
from ddpm_lesson.diffusion import DenoiseDiffusion
from ddpm_lesson.lesson.ch14_bug_museum.probes import DATA
from ddpm_lesson.lesson.kit.mixture import ExactNoise
from ddpm_lesson.lesson.kit.probe import fresh_generator
from ddpm_lesson.lesson.kit.stored import stored
from ddpm_lesson.sample import ddpm_steps, final_samples
from ddpm_lesson.schedule import NoiseSchedule

CHAIN = {"n_steps": 60, "beta_start": 1e-3, "beta_end": 0.25}
N = 4000
BATCH = 64


class Line(nn.Module):
    """The best guess of the noise that is a straight line in x_t: what a network knows early in training."""

    def __init__(self, schedule: NoiseSchedule):
        super().__init__()
        self.alpha_bar = schedule.alpha_bar

    def forward(self, xt: Tensor, t: Tensor) -> Tensor:
        """Guess for ``xt`` (B, 1) at ``t`` (B,)."""
        a = self.alpha_bar[t][:, None]
        return (1 - a).sqrt() * (xt - a.sqrt() * DATA.mean) / (a * DATA.var + 1 - a)


def perfect(*, line_below: int = 0) -> DenoiseDiffusion:
    """A model with the perfect network for ``DATA``, or with a straight line at the times below ``line_below``."""
    chain = NoiseSchedule.linear(**CHAIN)
    return DenoiseDiffusion(Joined(ExactNoise(DATA, chain), Line(chain), line_below), schedule=chain, sigma="posterior")


class Joined(nn.Module):
    """One network at the times below ``start``, and another one from there on."""

    def __init__(self, above: nn.Module, below: nn.Module, start: int):
        super().__init__()
        self.above, self.below, self.start = above, below, start

    def forward(self, xt: Tensor, t: Tensor) -> Tensor:
        """Guess for ``xt`` (B, 1) at ``t`` (B,)."""
        return torch.where((t < self.start)[:, None], self.below(xt, t), self.above(xt, t))


@torch.no_grad()
def loss(d: DenoiseDiffusion, seed: int = 0) -> float:
    """The loss on fresh data and noise, over all times."""
    x0 = DATA.sample(60 * N // 10, fresh_generator(seed)).float()[:, None]
    eps = torch.randn(x0.shape, generator=fresh_generator(seed + 50))
    return float(d.loss(x0, eps, torch.arange(len(x0)) % 60))


@torch.no_grad()
def batch_losses(d: DenoiseDiffusion, x0: Tensor, seed: int = 0, *, even: bool = False) -> Tensor:
    """The loss of one batch of ``x0`` after another, though nothing is learned between them.

    Args:
        d: a model that guesses noise.
        x0: data, (n * ``BATCH``, ...).
        seed: of the noise and the times.
        even: spread the times of a batch evenly over the chain; in training each is drawn for itself.

    Returns:
        (n,).
    """
    rng, losses = fresh_generator(seed + 50), []
    for some in x0.split(20 * BATCH):  # twenty batches at once, for speed
        eps = torch.randn(some.shape, generator=rng)
        place = torch.rand(len(some), generator=rng, dtype=torch.float64)
        if even:
            place = (torch.arange(len(some)) % BATCH + place) / BATCH
        t = (d.n_steps * place).long()
        missed = (d.eps_model(d.q_sample(some, t, eps), t) - eps).square()
        losses.append(missed.flatten(1).mean(1).view(-1, BATCH).mean(1))
    return torch.cat(losses)


@cache
def digits_losses(seed: int = 0, *, even: bool = False) -> Tensor:
    """The losses of fifty batches of test digits by the weights that come with the lesson, (50,)."""
    images = load_images("digits", "test")
    chosen = torch.randint(len(images), (50 * BATCH,), generator=fresh_generator(seed))
    return batch_losses(checkpoint.load("digits", "cpu"), images[chosen], seed, even=even)


def distance(d: DenoiseDiffusion, seed: int = 0, n_steps: int | None = None, sigma: str | None = None) -> float:
    """How far samples lie from the law of the data."""
    steps = ddpm_steps(d, (N, 1), torch.Generator().manual_seed(seed), n_steps=n_steps, sigma=sigma)
    return DATA.distance(final_samples(steps))


def blur(t: int, seed: int = 0) -> float:
    """Standard deviation of x0_hat at t, as a share of that of the data; for a perfect network."""
    x0 = DATA.sample(N, fresh_generator(seed)).float()[:, None]
    d, times = perfect(), torch.full((N,), t)
    x0_hat = d.denoise(d.q_sample(x0, times, torch.randn(x0.shape, generator=fresh_generator(seed + 50))), times)
    return float(x0_hat.std()) / DATA.var**0.5


def share_with_an_odd_one(seed: int = 0, n: int = 64) -> float:
    """Of sheets with ``n`` exact draws, the share that holds one from the outermost hundredth of the law."""
    sheets = DATA.sample(n * 500, fresh_generator(seed)).view(500, n)
    odd = (DATA.cdf(sheets) - 0.5).abs() > 0.495
    return float(odd.any(1).double().mean())


def exact_few_steps(n_steps: int, seed: int = 0) -> tuple[float, float]:
    """Distance with sigma^2 = beta and with the posterior's, of samples of the perfect network in ``n_steps``."""
    beta, posterior = (distance(perfect(), seed, n_steps, sigma) for sigma in ("beta", "posterior"))
    return beta, posterior


def few_steps() -> dict[int, tuple[float, float]]:
    """Steps -> Frechet distance with sigma^2 = beta and with the posterior's, of 500 samples of MNIST.

    Measured once for notebook 11, by ``python -m tests.benchmarks.sampler_race``.
    """
    record = stored("sampler_race.json")["mnist, 500 samples"]
    laps = {(lap["sampler"], lap["steps"]): lap["distance"] for lap in record["laps"]}
    return {n: (laps["beta", n], laps["posterior", n]) for sampler, n in laps if sampler == "beta"}
