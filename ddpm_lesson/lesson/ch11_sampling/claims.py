"""What notebook 11 states, found anew; the sentences stand in the notebook word for word."""

from functools import cache

import torch
from torch import Tensor

from ddpm_lesson import checkpoint
from ddpm_lesson.data import load_images
from ddpm_lesson.diffusion import DenoiseDiffusion
from ddpm_lesson.lesson.ch11_sampling.plots import rms
from ddpm_lesson.lesson.ch11_sampling.race import SAMPLERS, noise_on_the_way, race
from ddpm_lesson.lesson.kit.claim import ClaimBook
from ddpm_lesson.lesson.kit.mixture import TWO_BUMPS, ExactNoise
from ddpm_lesson.lesson.kit.probe import fresh_noise
from ddpm_lesson.lesson.kit.stored import stored
from ddpm_lesson.sample import ddim_steps, ddpm_steps, final_samples, inpaint_steps, sample, slerp, spaced_times
from ddpm_lesson.schedule import NoiseSchedule

BOOK = ClaimBook(11)
claim = BOOK.claim
N = 6000  # samples of a race on the line


@cache
def digits() -> tuple[DenoiseDiffusion, DenoiseDiffusion, Tensor]:
    """The shipped network with its guesses clipped and free, and the training images."""
    diffusion = checkpoint.load("digits", "cpu")
    free = DenoiseDiffusion(diffusion.eps_model, schedule=diffusion.schedule, clip_x0=False)
    return diffusion, free, load_images("digits")[:]


@cache
def perfect() -> DenoiseDiffusion:
    """Two bumps on a line, and the exact noise."""
    schedule = NoiseSchedule.linear()
    return DenoiseDiffusion(ExactNoise(TWO_BUMPS, schedule), schedule=schedule, clip_x0=False)


def noise(seed: int) -> torch.Generator:
    """Draws of their own for a seed."""
    return torch.Generator().manual_seed(1000 + seed)


@claim("Without draws **all starts end in one and the same picture**", high=0.15)
def starts_forgotten(seed: int) -> float:
    """How far eight samples of the means alone lie from each other, in shares of those with draws."""
    diffusion, _, _ = digits()
    chain, spread = diffusion.spaced(spaced_times(1000, 20)), []
    for share in (0.0, 1.0):
        rng = noise(seed)
        xt = torch.randn(8, 1, 8, 8, generator=rng)
        for i in reversed(range(20)):
            t = torch.full((8,), i)
            with torch.no_grad():
                mean, var = chain.q_posterior(chain.denoise(xt, t), xt, t)
            xt = mean + share * var.sqrt() * torch.randn(xt.shape, generator=rng)
        spread.append(rms(xt - xt.mean(0)))
    return spread[0] / spread[1]


@cache
def drawn(seed: int, n_steps: int) -> tuple[Tensor, Tensor]:
    """256 digits by DDIM from the same noise, clipped and free."""
    clipped, free, _ = digits()
    return tuple(sample(model, (256, 1, 8, 8), n_steps=n_steps, generator=noise(seed)) for model in (clipped, free))


def background(images: Tensor) -> float:
    """The mean over the 17 pixels that are nearly always black."""
    black = digits()[2].flatten(1).mean(0).argsort()[:17]
    return float(images.flatten(1)[:, black].mean())


@claim("samples of 20 steps of DDIM have the mean $-0.94$", low=-0.96, high=-0.92, slow=True)
def background_clipped(seed: int) -> float:
    """Of 256 samples."""
    return background(drawn(seed, 20)[0])


@claim("and about $-0.98$ without clipping, where the data have $-0.99$", low=-0.99, high=-0.965, slow=True)
def background_free(seed: int) -> float:
    """Of 256 samples."""
    return background(drawn(seed, 20)[1])


@claim(
    "whole runs with and without clipping, from the same noise, end about 0.04 apart",
    low=0.025,
    high=0.055,
    seeds=(0, 1),
    slow=True,
)
def clipping_matters_little(seed: int) -> float:
    """Root mean square of the difference after all thousand steps, for 16 samples."""
    clipped, free, _ = digits()
    ends = [final_samples(ddpm_steps(model, (16, 1, 8, 8), noise(seed))) for model in (clipped, free)]
    return rms(ends[0] - ends[1])


@claim("of 256 samples about one in eight has values beyond 3", low=0.08, high=0.18, slow=True)
def far_beyond(seed: int) -> float:
    """Share of the samples of five free steps."""
    return float((drawn(seed, 5)[1].flatten(1).abs().amax(1) > 3).double().mean())


@claim(
    "the ratio is between 1.3 and 1.8, whatever the number of steps", low=1.3, high=1.8, seeds=(10, 20, 50, 100, 1000)
)
def too_much_noise(seed: int) -> float:
    """Standard deviation of the noise over the right one at the last time; the seed is the number of steps."""
    times = spaced_times(1000, seed)[::-1]
    return float(noise_on_the_way(NoiseSchedule.linear().spaced(times))[0])


def share_that_stays(seed: int, factor: float, told: int | None) -> float:
    """Of noise at t = 99, ``factor`` times as strong, that stays in the guess; told the t that fits unless given."""
    diffusion, _, _ = digits()
    x0, a = load_images("digits", "test")[:], diffusion.alpha_bar[99]
    eps = fresh_noise(x0, seed)
    noisy = a.sqrt() * x0 + factor * (1 - a).sqrt() * eps
    if told is None:
        told = int((diffusion.alpha_bar - a / (a + factor**2 * (1 - a))).abs().argmin())
    with torch.no_grad():
        guess = diffusion.denoise(noisy * (diffusion.alpha_bar[told] / a).sqrt(), torch.full((len(x0),), told))
    return float(((guess - x0) * eps).sum() / eps.square().sum() * (a / (1 - a)).sqrt() / factor)


@claim("told the right time, the network leaves a *smaller* share of stronger noise", high=0.9)
def stays_told_rightly(seed: int) -> float:
    """Of noise 1.7 times as strong, in multiples of that of the usual noise."""
    return share_that_stays(seed, 1.7, None) / share_that_stays(seed, 1.0, 99)


@claim("it leaves a larger one, and that stays in the picture", low=1.1)
def stays_told_wrongly(seed: int) -> float:
    """The same when it is told t = 99."""
    return share_that_stays(seed, 1.7, 99) / share_that_stays(seed, 1.0, 99)


@claim("with 10 steps the fourth lies at $-0.28$, with 200 at $-0.47$", low=-0.006, high=0.006, seeds=(10, 200))
def ends_of_the_fourth(seed: int) -> float:
    """Off by this much; the seed is the number of steps."""
    start = torch.linspace(-1.8, 1.8, 9)[:, None]
    end = final_samples(ddim_steps(perfect(), (9, 1), seed, start=start))[3]
    return float(end) - {10: -0.28, 200: -0.47}[seed]


@cache
def laps(seed: int) -> dict[tuple[str, int], float]:
    """Distances of the three samplers with few steps and a perfect network."""
    found = race(perfect(), TWO_BUMPS.distance, (N, 1), (5, 10, 20), seed=1000 + seed)
    return {(lap.sampler, lap.n_steps): lap.distance for lap in found}


@claim(r"**$\sigma^2 = \beta$ wins** while steps are few", high=0.9)
def beta_wins(seed: int) -> float:
    """Its distance in multiples of the better of the two others; the worst of 5, 10 and 20 steps."""
    found = laps(seed)
    others = {n: min(found[name, n] for name in SAMPLERS if name != "beta") for n in (5, 10, 20)}
    return max(found["beta", n] / others[n] for n in others)


@claim(r"Even exact $x_{99}$ would give samples with a spread of 0.517 only", low=0.5165, high=0.5175, seeds=(0,))
def spread_of_the_means(seed: int) -> float:
    """Standard deviation of E[x_0 | x_99] over a fine grid of x_99."""
    alpha_bar = float(NoiseSchedule.linear().alpha_bar[99])
    noised = TWO_BUMPS.noised(alpha_bar)
    xt = torch.linspace(-4, 4, 4001, dtype=torch.float64)
    weight, mean = noised.prob(xt) * (xt[1] - xt[0]), TWO_BUMPS.exact_x0(xt, alpha_bar)
    return float((weight * (mean - (weight * mean).sum()) ** 2).sum().sqrt())


@cache
def floors(seed: int) -> list[float]:
    """Distances of 20 sets of exact draws."""
    return [TWO_BUMPS.distance(TWO_BUMPS.sample(N, noise(20 * seed + i))) for i in range(20)]


@claim("single runs of exact draws differ by a factor of four or five", low=3, high=8)
def floors_scatter(seed: int) -> float:
    """The largest of twenty in multiples of the smallest."""
    return max(floors(seed)) / min(floors(seed))


@claim(r"where steps are fewest, $\sigma^2 = \beta$ is now the worst by far", low=1.5, seeds=(0,))
def beta_loses(seed: int) -> float:
    """Its distance with ten steps over the worse of the two others, on MNIST, as stored; the least of the races."""
    ratios = []
    for found in stored("sampler_race.json").values():
        ten = {lap["sampler"]: lap["distance"] for lap in found["laps"] if lap["steps"] == 10}
        ratios.append(ten.pop("beta") / max(ten.values()))
    return min(ratios)


@claim("The short starts lose a little contrast, no more", low=0.9, high=1.0, slow=True)
def line_over_arc(seed: int) -> float:
    """Contrast from starts on the line over that from starts on the arc, half-way between 96 pairs."""
    diffusion, _, _ = digits()
    one, other = torch.randn(2, 96, 1, 8, 8, generator=noise(seed))
    ends = [
        final_samples(ddim_steps(diffusion, one.shape, 10, start=x))
        for x in (torch.lerp(one, other, 0.5), slerp(one, other, 0.5))
    ]
    line, arc = (float(end.flatten(1).std(1).mean()) for end in ends)
    return line / arc


@claim("its completions spread less", high=0.97, slow=True)
def lower_half_says_more(seed: int) -> float:
    """Spread of 60 completions of the 6 from its lower half, over that from its upper half."""
    diffusion, image, spread = digits()[0], load_images("digits", "test")[:][3], []
    for known in (torch.arange(8) >= 4, torch.arange(8) < 4):
        mask = known[:, None].expand(1, 8, 8)
        steps = inpaint_steps(diffusion, image.expand(60, 1, 8, 8), mask, noise(seed), n_steps=15, sigma="posterior")
        hidden = final_samples(steps)[:, ~mask]
        spread.append(float(hidden.var(0).mean().sqrt()))
    return spread[0] / spread[1]
