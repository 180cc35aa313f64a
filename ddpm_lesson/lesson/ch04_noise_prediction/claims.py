"""What notebook 04 says in numbers, each found anew."""

import math

import torch
from torch import Tensor

from ddpm_lesson import checkpoint
from ddpm_lesson.bound import loss_weights
from ddpm_lesson.data import load_images
from ddpm_lesson.diffusion import DenoiseDiffusion
from ddpm_lesson.lesson.ch04_noise_prediction.experiments import (
    LINE,
    floors,
    line_schedule,
    perfect_bound,
    trained,
)
from ddpm_lesson.lesson.ch04_noise_prediction.proofs import bump_chain, exact_reverse
from ddpm_lesson.lesson.kit.chain import GridChain, data_nodes, short_chain
from ddpm_lesson.lesson.kit.claim import ClaimBook
from ddpm_lesson.lesson.kit.mixture import TWO_BUMPS, ExactNoise
from ddpm_lesson.sample import ddpm_steps
from ddpm_lesson.schedule import NoiseSchedule

BOOK = ClaimBook(4)
claim = BOOK.claim

BETWEEN = torch.linspace(-0.3, 0, 61, dtype=torch.float64)  # the bumps


def won(schedule: NoiseSchedule) -> float:
    """Nats by which the best constants improve the bound over sigma^2 = beta."""
    return perfect_bound(schedule, "beta") - perfect_bound(schedule, "best")


def astray(seed: int, t: int, x: tuple[float, ...]) -> list[float]:
    """How far the network trained with ``seed`` is from the exact noise at ``t`` and each of ``x``."""
    xt = torch.tensor(x)
    times = torch.full((len(x),), t)
    with torch.no_grad():
        learned = trained(seed).eps_model(xt[:, None], times)[:, 0]
    return (learned - ExactNoise(TWO_BUMPS, line_schedule())(xt, times)).abs().tolist()


def digit_errors(seed: int, t: int) -> Tensor:
    """Errors of the small network's guesses of the images of the panel, (8, 1, 8, 8)."""
    diffusion, x0 = checkpoint.load("digits").eval(), load_images("digits", "test")[:8]
    times, eps = torch.full((8,), t), torch.randn(x0.shape, generator=torch.Generator().manual_seed(seed))
    xt = diffusion.q_sample(x0, times, eps)
    with torch.no_grad():
        return diffusion.predict_x0(xt, times, diffusion.eps_model(xt, times)) - x0


def rms(values: Tensor) -> float:
    """Root mean square."""
    return float(values.square().mean().sqrt())


@claim("the best constants improve the bound by 0.003", low=0.0025, high=0.0035, seeds=[0])
def won_by_a_thousand(seed: int) -> float:
    """With the paper's schedule."""
    return won(NoiseSchedule.linear())


@claim("With eight steps it is 0.10 nats", low=0.095, high=0.105, seeds=[0])
def won_by_eight(seed: int) -> float:
    """With the chain of section 10."""
    return won(short_chain(8))


@claim("index 1 to 50 have 27 % of the weight in the bound", low=0.265, high=0.275, seeds=[0])
def early_weight(seed: int) -> float:
    """Their share on the paper's schedule."""
    weight = loss_weights(NoiseSchedule.linear().to(torch.float64))[1:]
    return float(weight[:50].sum() / weight.sum())


@claim("97.5 % of the weight on the very last step", low=97.45, high=97.55, seeds=[0])
def last_weight(seed: int) -> float:
    """Percent, on the cosine schedule."""
    weight = loss_weights(NoiseSchedule.cosine(1000).to(torch.float64))[1:]
    return 100 * float(weight[-1] / weight.sum())


@claim("(0.50 against 0.17)", low=0.165, high=0.175)
def dimmed_variance(seed: int) -> float:
    """Of the data at alpha_bar = 1/2, from draws."""
    return float((0.5**0.5 * TWO_BUMPS.sample(200_000, torch.Generator().manual_seed(seed))).var())


@claim("exceeds that of the perfect one by less than 1 %", low=0, high=0.01, seeds=range(4), slow=True)
def excess(seed: int) -> float:
    """Of the learned network's loss, on data and noise that it was not trained with."""
    schedule = line_schedule()
    perfect = DenoiseDiffusion(ExactNoise(TWO_BUMPS, schedule), schedule=schedule, clip_x0=False)
    x0 = TWO_BUMPS.sample(50_000, torch.Generator().manual_seed(seed + 1000)).float()[:, None]
    losses = []
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        for diffusion in (trained(seed), perfect):
            torch.manual_seed(seed + 2000)
            losses.append(float(diffusion.loss(x0)))
    return losses[0] / losses[1] - 1


@claim("a loss of 0.17", low=0.165, high=0.175, seeds=[0])
def floor_of_the_loss(seed: int) -> float:
    """The least loss on the line."""
    return float(floors(line_schedule()).mean())


@claim("the first 20 of the 200 hold 43 % of the floor", low=42.5, high=43.5, seeds=[0], n=20)
@claim("the first 60 hold 89 %", low=88.5, high=89.5, seeds=[0], n=60)
def early_share(seed: int, n: int) -> float:
    """Percent of the floor that the first ``n`` of the 200 steps hold."""
    floor = floors(line_schedule())
    return 100 * float(floor[:n].sum() / floor.sum())


@claim("It is 0.99 at $t = 0$ and 0.85 at $t = 4$, but 0.008 at $t = 120$", high=0.005, seeds=[0])
def floors_told(seed: int) -> float:
    """The largest difference of the three."""
    floor = floors(line_schedule())
    return max(abs(float(floor[t]) - told) for t, told in {0: 0.99, 4: 0.85, 120: 0.008}.items())


@claim("bends away at both sides", low=0.2, seeds=range(4), slow=True)
def strays_at_both_sides(seed: int) -> float:
    """The least error at t = 4 and 20 in x_t = -2.5, -2, 2 and 2.5."""
    return min(error for t in (4, 20) for error in astray(seed, t, (-2.5, -2, 2, 2.5)))


@claim("At\n  $t = 120$ such values occur, and it fits", high=0.15, seeds=range(4), slow=True)
def fits_late(seed: int) -> float:
    """The largest error at t = 120 in x_t = -2.5 .. 2.5."""
    return max(astray(seed, 120, (-2.5, -2, 2, 2.5)))


@claim("From $-0.3$ to 0 lie 2.2 % of the data", low=2.15, high=2.25, seeds=[0])
def data_between(seed: int) -> float:
    """Percent."""
    return 100 * float(TWO_BUMPS.cdf(BETWEEN[-1]) - TWO_BUMPS.cdf(BETWEEN[0]))


@claim("but 3 to 4 % of the samples", low=2.8, high=4.4, seeds=range(4), slow=True)
def samples_between(seed: int) -> float:
    """Percent of 20,000 samples; the band allows for rounding and for their chance."""
    for step in ddpm_steps(trained(seed), (20_000, 1), torch.Generator().manual_seed(seed + 3000)):
        x = step.x0_hat
    return 100 * float(((x > -0.3) & (x < 0)).double().mean())


@claim("The perfect network would put 2.8 % there", low=2.75, high=2.85, seeds=[0], slow=True, sigma="beta")
@claim("it would put 2.1 %, a little too few", low=2.05, high=2.15, seeds=[0], slow=True, sigma="posterior")
def perfect_between(seed: int, sigma: str) -> float:
    """Percent of p_theta between the bumps with the perfect network and 200 steps."""
    grid = torch.linspace(-6, 6, 1101, dtype=torch.float64)
    chain = GridChain(line_schedule(), exact_reverse(TWO_BUMPS, line_schedule(), sigma), grid)
    return 100 * float(torch.trapezoid((-chain.nll(BETWEEN)).exp(), BETWEEN))


@claim("RMSE about 1 with clipping", low=0.85, high=1.15, seeds=range(10))
def clipped_garbage(seed: int) -> float:
    """At t = 999."""
    x0 = load_images("digits", "test")[:8]
    return rms((digit_errors(seed, 999) + x0).clamp(-1, 1) - x0)


@claim("5 to 8 without", low=5, high=8, seeds=range(10))
def garbage(seed: int) -> float:
    """RMSE at t = 999."""
    return rms(digit_errors(seed, 999))


@claim("(the mean of all digits, RMSE 0.54)", low=0.535, high=0.545, seeds=[0])
def mean_digit(seed: int) -> float:
    """RMSE of the training images' mean on those of the panel."""
    return rms(load_images("digits", "test")[:8] - load_images("digits")[:].mean(0))


@claim("the sampled one within two or three standard errors", high=3.5, seeds=range(5))
def sampled_by_chance(seed: int) -> float:
    """How many standard errors lie between the sampled bound and the sum of its terms."""
    chain, (x0, weight) = bump_chain(), data_nodes(TWO_BUMPS, 32)
    generator = torch.Generator().manual_seed(seed)
    draws = torch.stack([chain.sampled_bound(float(x), 500, generator) for x in x0])
    error = math.sqrt(float(weight**2 @ draws.var(1)) / draws.shape[1])
    return abs(float(weight @ draws.mean(1)) - perfect_bound(short_chain(), "beta")) / error


@claim("Entropy of the data: 0.49", low=0.485, high=0.495, seeds=[0])
def entropy(seed: int) -> float:
    """In nats."""
    return -float(torch.trapezoid(TWO_BUMPS.prob(LINE) * TWO_BUMPS.log_prob(LINE), LINE))


@claim("the two bounds still differ by 0.4 nats", low=0.35, high=0.45, seeds=[0])
def choice_of_sigma(seed: int) -> float:
    """With the paper's schedule."""
    s = NoiseSchedule.linear()
    return perfect_bound(s, "posterior") - perfect_bound(s, "beta")
