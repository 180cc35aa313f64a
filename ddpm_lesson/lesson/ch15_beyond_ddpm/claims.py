"""What notebook 15 states, found anew; the sentences stand in the notebook word for word."""

from functools import cache

import torch
from torch import Tensor

from ddpm_lesson import checkpoint
from ddpm_lesson.evaluate import load_classifier
from ddpm_lesson.flow import flow_steps
from ddpm_lesson.lesson.ch15_beyond_ddpm import experiments as ex
from ddpm_lesson.lesson.kit.claim import ClaimBook
from ddpm_lesson.lesson.kit.mixture import TWO_BUMPS
from ddpm_lesson.sample import dpm_steps, final_samples, guided
from ddpm_lesson.schedule import NoiseSchedule

BOOK = ClaimBook(15)
claim = BOOK.claim


def noise(seed: int) -> torch.Generator:
    """Draws of their own for a seed."""
    return torch.Generator().manual_seed(2000 + seed)


@claim("agree to better than a hundredth of a nat", high=0.01)
def likelihood_is_exact(seed: int) -> float:
    """The largest difference to the exact log-density for 20 draws."""
    x0 = TWO_BUMPS.sample(20, noise(seed))
    return float((ex.log_likelihood(x0) - TWO_BUMPS.log_prob(x0)).abs().max())


@claim("the bound of the same network comes within a tenth of a nat", low=-0.05, high=0.1, seeds=(0, 1), slow=True)
def bound_is_near(seed: int) -> float:
    """Mean bound of 200 even ranks, ten times, minus their mean exact negative log-likelihood."""
    x0 = TWO_BUMPS.quantile(ex.RANKS)
    return ex.bound(x0, 10, noise(seed)) + float(TWO_BUMPS.log_prob(x0).mean())


@cache
def errors(until: int) -> dict[str, dict[int, float]]:
    """Errors of the solvers by evaluations: half-way, or of the samples."""
    counts = (8, 16, 32) if until else (5, 10)
    return {name: dict(points) for name, points in ex.solver_errors(counts, until).items()}


@claim("with 8 evaluations Heun is behind Euler, with 32 far ahead", low=1.5, high=4, seeds=(8,))
def heun_behind(seed: int) -> float:
    """Its error half-way in multiples of Euler's at 8 evaluations."""
    return errors(499)["Heun"][seed] / errors(499)["DDIM (Euler)"][seed]


@claim("With 10 evaluations DPM-Solver++ has about a fifth less error than DDIM", low=0.7, high=0.85, seeds=(10,))
def dpm_ahead(seed: int) -> float:
    """Of the samples, in multiples of DDIM's."""
    return errors(0)["DPM-Solver++(2M)"][seed] / errors(0)["DDIM (Euler)"][seed]


@claim("Heun, which asks 9 times in 5 steps, ends more than half as far again", low=1.5, seeds=(9,))
def heun_loses(seed: int) -> float:
    """Its error with 9 evaluations in multiples of that of DDIM with 10."""
    return errors(0)["Heun"][seed] / errors(0)["DDIM (Euler)"][10]


@claim(r"leaves $\sqrt{\bar\alpha_T} = 0.006$ of the image", low=0.0063, high=0.0064, seeds=(0,))
def signal_at_the_end(seed: int) -> float:
    """Of the linear schedule."""
    return float(NoiseSchedule.linear().alpha_bar[-1].sqrt())


@claim(
    "at scale 3 the samples have a mean of about 1.1, where the dashed density has 0.78",
    low=1.05,
    high=1.15,
    seeds=(3,),
)
def guided_mean(seed: int) -> float:
    """The seed is the scale."""
    return float(ex.guided_ends(float(seed)).mean())


@claim("One step of the rectified flow is as good as sixteen or more of the first", high=1.0, seeds=(0, 1), slow=True)
def rectified_in_one_step(seed: int) -> float:
    """Its distance in multiples of that of the first flow with 16."""
    found = ex.distances((1, 16), seed)
    return found["flow rectified, Euler"][0][1] / found["flow, Euler"][1][1]


@claim("at 8 evaluations the flow is nearer to the data than both DDPMs", high=0.9, seeds=(0, 1), slow=True)
def flow_ahead(seed: int) -> float:
    """Its distance in multiples of the better of the two."""
    found = {name: points[0][1] for name, points in ex.distances((8,), seed).items()}
    return found["flow, Euler"] / min(found["DDPM (eps), DDIM"], found["DDPM (v), DDIM"])


@torch.no_grad()
def read(images: Tensor) -> Tensor:
    """The digits that the shipped classifier reads, (B,)."""
    return load_classifier("digits", "cpu")(images).argmax(1)


@cache
def digits_drawn(scale: float, seed: int) -> tuple[Tensor, Tensor]:
    """100 digits with their labels at a scale, and what the classifier reads, (100, 1, 8, 8) and (100,)."""
    labels = torch.arange(10).repeat(10)
    model = guided(checkpoint.load("digits_guided", "cpu"), labels, scale)
    images = final_samples(dpm_steps(model, (100, 1, 8, 8), 10, noise(seed)))
    return images, read(images) == labels


@claim("at scale 1 the classifier reads the label in about four of five", low=0.7, high=0.9)
def labels_are_followed(seed: int) -> float:
    """Share of 100 digits."""
    return float(digits_drawn(1.0, seed)[1].double().mean())


@claim("the spread of a class shrinks", high=0.95)
def scale_costs_spread(seed: int) -> float:
    """Standard deviation within the classes at scale 4 over that at scale 1."""
    spread = [digits_drawn(s, seed)[0].view(10, 10, -1).var(0).mean().sqrt() for s in (4.0, 1.0)]
    return float(spread[0] / spread[1])


@claim("Already 10 of its steps end close to what 100 end in", high=0.2)
def flow_settles(seed: int) -> float:
    """Root mean square between digits of the flow in 10 and in 100 steps of Euler, from the same noise."""
    flow = checkpoint.load_flow("digits_flow", "cpu")
    few, many = (final_samples(flow_steps(flow, (32, 1, 8, 8), n, noise(seed))) for n in (10, 100))
    return float((few - many).square().mean().sqrt())
