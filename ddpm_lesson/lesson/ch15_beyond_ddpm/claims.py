"""What notebook 15 states, found anew; the sentences stand in the notebook word for word.

Where no chance enters, or what is stored is judged, seeds are what is asked for: evaluations, or a scale.
"""

from functools import cache
from statistics import mean

import torch
from torch import Tensor

from ddpm_lesson import checkpoint
from ddpm_lesson.evaluate import load_classifier
from ddpm_lesson.flow import flow_steps
from ddpm_lesson.lesson.ch15_beyond_ddpm import experiments as ex
from ddpm_lesson.lesson.ch15_beyond_ddpm import measured
from ddpm_lesson.lesson.kit.claim import ClaimBook
from ddpm_lesson.lesson.kit.mixture import TWO_BUMPS
from ddpm_lesson.sample import dpm_steps, final_samples, guided
from ddpm_lesson.schedule import NoiseSchedule

BOOK = ClaimBook(15)
claim = BOOK.claim
EULER, HEUN, DPM = ex.SOLVERS


def noise(seed: int) -> torch.Generator:
    """Draws of their own for a seed."""
    return torch.Generator().manual_seed(3000 + seed)


def rms(x: Tensor) -> float:
    """Root mean square."""
    return float(x.square().mean().sqrt())


# The equation


@claim("agree to better than a hundredth of a nat", high=0.01)
def likelihood_is_exact(seed: int) -> float:
    """The largest difference to the exact log-density for 20 draws."""
    x0 = TWO_BUMPS.sample(20, noise(seed))
    return float((ex.log_likelihood(x0) - TWO_BUMPS.log_prob(x0)).abs().max())


@claim("the bound of the same network lies less than a hundredth above", low=0.001, high=0.0099, seeds=(0,))
def bound_is_near(seed: int) -> float:
    """Mean bound of 200 even ranks, minus their mean exact negative log-likelihood."""
    x0 = TWO_BUMPS.quantile(ex.RANKS)
    return ex.bound(x0) + float(TWO_BUMPS.log_prob(x0).mean())


# Solvers


@cache
def errors(until: int) -> dict[str, dict[int, float]]:
    """Errors of the solvers by evaluations: half-way, or of the samples."""
    counts = (8, 16, 32, 64) if until else (5, 10, 40)
    return {name: dict(points) for name, points in ex.solver_errors(counts, until).items()}


@claim("With 8 evaluations Heun's error is more than twice Euler's", low=2, high=3, seeds=(8,))
def heun_behind(seed: int) -> float:
    """Half-way, in multiples of Euler's."""
    return errors(499)[HEUN][seed] / errors(499)[EULER][seed]


@claim("with 32 less than half of it", low=0.33, high=0.5, seeds=(32,))
def heun_ahead(seed: int) -> float:
    """Half-way, in multiples of Euler's."""
    return errors(499)[HEUN][seed] / errors(499)[EULER][seed]


@claim("With 10 evaluations DPM-Solver++ has about a fifth less error than DDIM", low=0.75, high=0.85, seeds=(10,))
def dpm_ahead(seed: int) -> float:
    """Of the samples, in multiples of DDIM's."""
    return errors(0)[DPM][seed] / errors(0)[EULER][seed]


@claim("Heun, which asks 9 times in 5 steps, has more than 1.5 times DDIM's error", low=1.5, high=1.8, seeds=(9,))
def heun_loses(seed: int) -> float:
    """Its error with 9 evaluations in multiples of that of DDIM with 10."""
    return errors(0)[HEUN][seed] / errors(0)[EULER][10]


@cache
def jumps(at_most: int) -> dict[str, ex.LastJump]:
    """Every solver, taken apart before its last jump."""
    return {row.solver: row for row in ex.last_jumps(at_most)}


@claim("With 49 evaluations Heun arrives three times nearer than DDIM with 50", low=3, high=4, seeds=(50,))
def heun_arrives(seed: int) -> float:
    """DDIM's error before the last jump, in multiples of Heun's."""
    return jumps(seed)[EULER].arrives / jumps(seed)[HEUN].arrives


@claim("and its samples are further off all the same", low=1.05, high=1.3, seeds=(50,))
def heun_ends_further(seed: int) -> float:
    """Its error in multiples of DDIM's."""
    return jumps(seed)[HEUN].ends / jumps(seed)[EULER].ends


@claim("its last jump alone costs more than all of DDIM's error", low=1.05, seeds=(10, 20, 50))
def jump_costs_more(seed: int) -> float:
    """What the jump costs from the right place, in multiples of the error of DDIM's samples; by evaluations."""
    return jumps(seed)[HEUN].jump / jumps(seed)[EULER].ends


@claim("DPM-Solver++ is first with 10 and with 20 evaluations, all eight times", high=0.999, seeds=(10, 20))
def dpm_is_first(seed: int) -> float:
    """Its distance on the digits over the least of the others, the worst of eight times; by evaluations."""
    race = measured.solver_race("digits")
    ours, *others = (race.at(name, seed) for name in sorted(measured.SAMPLERS.values(), key=lambda name: name != DPM))
    return max(d / min(rest) for d, *rest in zip(ours, *others, strict=True))


@claim("Heun with 9 is *ahead* of DDIM with 10, again all eight times", high=0.999, seeds=(10,))
def heun_is_ahead_on_digits(seed: int) -> float:
    """Its distance over DDIM's, the worst of eight times."""
    race = measured.solver_race("digits")
    return max(h / e for h, e in zip(race.at(HEUN, seed), race.at(EULER, seed), strict=True))


@claim("Heun, with 9 evaluations, has two thirds of DDIM's distance", low=0.55, high=0.75, seeds=(10,))
def heun_is_ahead_on_mnist(seed: int) -> float:
    """On MNIST, mean distances."""
    race = measured.solver_race("mnist")
    return mean(race.at(HEUN, seed)) / mean(race.at(EULER, seed))


@claim("are level with 9 and 10 evaluations", high=1, seeds=(10,))
def level_on_mnist(seed: int) -> float:
    """How far Heun and DPM-Solver++ are apart, by evaluations."""
    race = measured.solver_race("mnist")
    return abs(mean(race.at(HEUN, seed)) - mean(race.at(DPM, seed)))


@claim("nearer with 50, at 31.1", low=31.05, high=31.15, seeds=(50,), name=measured.SAMPLERS["posterior"])
@claim("beside Heun's 36.3", low=36.25, high=36.35, seeds=(50,), name=HEUN)
def distance_on_mnist(seed: int, name: str) -> float:
    """Of 500 samples, by evaluations."""
    return mean(measured.solver_race("mnist").at(name, seed))


@claim("on MNIST nearer than DDIM and DDPM by almost a third", low=0.65, high=0.75, seeds=(10,))
def dpm_in_ten_on_mnist(seed: int) -> float:
    """Its distance over that of the better of the two, by evaluations."""
    race = measured.solver_race("mnist")
    others = (mean(race.at(name, seed)) for name in (measured.SAMPLERS["posterior"], EULER))
    return mean(race.at(DPM, seed)) / min(others)


@claim("With fifty the four differ less", high=0.9, seeds=(0,))
def solvers_come_together(seed: int) -> float:
    """The largest distance over the least with 50 evaluations, over that with 10; the worse of digits and MNIST."""
    ratios = []
    for race in map(measured.solver_race, ("digits", "mnist")):
        few, many = ([mean(race.at(name, n)) for name in race.curves] for n in (10, 50))
        ratios.append(max(many) / min(many) / (max(few) / min(few)))
    return max(ratios)


@cache
def digits_in_ten(seed: int) -> dict[str, Tensor]:
    """100 digits by every solver with ten evaluations or nine, and where their paths end."""
    return ex.in_ten(checkpoint.load("digits", "cpu"), (100, 1, 8, 8), noise(seed))


@claim("Heun's digits lie about 1.5 times as far from the ends of their paths as DDIM's", low=1.4, high=1.6, slow=True)
def heun_is_further_from_the_path(seed: int) -> float:
    """Root mean square over that of DDIM."""
    ends = digits_in_ten(seed)
    return rms(ends[HEUN] - ends["path"]) / rms(ends[EULER] - ends["path"])


def bright(x: Tensor) -> float:
    """Share of the pixels above 0.8."""
    return float((x > 0.8).double().mean())


@claim("DDIM draws two thirds of the bright pixels that fine steps draw", low=0.6, high=0.75, slow=True)
def few_steps_are_pale(seed: int) -> float:
    """Its share of pixels above 0.8 over that where the paths end."""
    return bright(digits_in_ten(seed)[EULER]) / bright(digits_in_ten(seed)["path"])


@claim("Heun some more", low=1.02, high=1.2, slow=True)
def heun_is_less_pale(seed: int) -> float:
    """Its share of pixels above 0.8 over DDIM's."""
    return bright(digits_in_ten(seed)[HEUN]) / bright(digits_in_ten(seed)[EULER])


# Targets


@claim(r"leaves $\sqrt{\bar\alpha_T} = 0.006$ of the image", low=0.0063, high=0.0064, seeds=(0,))
def signal_at_the_end(seed: int) -> float:
    """Of the linear schedule."""
    return float(NoiseSchedule.linear().alpha_bar[-1].sqrt())


# Guidance


@claim("at scale 3 the samples have a mean of about 1.1", low=1.05, high=1.15, seeds=(3,))
def guided_mean(seed: int) -> float:
    """By scale."""
    return float(ex.guided_ends(float(seed)).mean())


@claim("where the dashed density has 0.78", low=0.775, high=0.785, seeds=(3,))
def tilted_mean(seed: int) -> float:
    """By scale."""
    x = torch.linspace(-6, 8, 4001, dtype=torch.float64)
    return float(torch.trapezoid(ex.tilted(x, float(seed)) * x, x))


def further_out(scale: float) -> float:
    """The share of the class that lies beyond the mean of its guided samples."""
    z = (ex.guided_ends(scale).mean() - ex.CLASSES.means[1]) / ex.CLASSES.stds[1]
    return float(torch.special.ndtr(-z))


@claim("at scale 3 only one in seven of the class lies beyond their mean", low=1 / 7.5, high=1 / 6.5, seeds=(3,))
def beyond_scale_3(seed: int) -> float:
    """By scale."""
    return further_out(float(seed))


@claim("at scale 8 one in eighty", low=1 / 85, high=1 / 75, seeds=(8,))
def beyond_scale_8(seed: int) -> float:
    """By scale."""
    return further_out(float(seed))


@torch.no_grad()
def read(images: Tensor) -> Tensor:
    """The digits that the shipped classifier reads, (B,)."""
    return load_classifier("digits", "cpu")(images).argmax(1)


@cache
def digits_drawn(scale: float, seed: int) -> tuple[Tensor, Tensor]:
    """200 digits with their labels at a scale, and what the classifier reads, (200, 1, 8, 8) and (200,)."""
    labels = torch.arange(10).repeat(20)
    model = guided(checkpoint.load("digits_guided", "cpu"), labels, scale)
    images = final_samples(dpm_steps(model, (200, 1, 8, 8), 10, noise(seed)))
    return images, read(images) == labels


@claim("at scale 1 the classifier reads the label in about four of five", low=0.75, high=0.9)
def labels_are_followed(seed: int) -> float:
    """Share of 200 digits."""
    return float(digits_drawn(1.0, seed)[1].double().mean())


@claim("at scale 4 the spread of a class has shrunk by a quarter", low=0.7, high=0.8)
def scale_costs_spread(seed: int) -> float:
    """Standard deviation within the classes at scale 4 over that at scale 1."""
    spread = [digits_drawn(s, seed)[0].view(20, 10, -1).var(0).mean().sqrt() for s in (4.0, 1.0)]
    return float(spread[0] / spread[1])


@claim("At scale 1 the digits differ from each other as much as real ones do", low=0.98, high=1.02, seeds=(1,))
def spread_is_real(seed: int) -> float:
    """Spread within a digit over that of the training images, by scale."""
    return mean(measured.in_real_units()["spread"][seed])


@claim("At scale 2 the classifier reads 97 % as asked", low=0.965, high=0.985, seeds=(2,))
def agreement_at_2(seed: int) -> float:
    """By scale."""
    return mean(measured.by_scale("agreement")[seed])


@claim("as it does of real test digits", low=0.965, high=0.985, seeds=(0,))
def agreement_of_real(seed: int) -> float:
    """Their own label."""
    return measured.stored("guidance.json")["real"]["test"]["agreement"]


@claim(
    "on its features scale 1.5 is nearest to the data, all eight times", low=8, seeds=(0,), what="classifier", scale=1.5
)
@claim("In pixels 1.25 is, five times", low=5, high=5, seeds=(0,), what="pixels", scale=1.25)
@claim("and 1 three times", low=3, high=3, seeds=(0,), what="pixels", scale=1.0)
def times_best(seed: int, what: str, scale: float) -> int:
    """How often of eight times this scale has the least distance."""
    found = measured.by_scale(what)
    return [min(found, key=lambda s: found[s][i]) for i in range(8)].count(scale)


@claim("at two thirds of the distance of test images", low=0.6, high=0.75, seeds=(0,), what="classifier", scale=1.5)
@claim("six times as far as test images", low=5.5, high=6.5, seeds=(0,), what="classifier", scale=8.0)
@claim("more than three times in pixels", low=3, high=3.9, seeds=(0,), what="pixels", scale=8.0)
def over_its_floor(seed: int, what: str, scale: float) -> float:
    """Mean distance in multiples of that of test images."""
    return mean(measured.in_real_units()[what][scale])


# Straight paths


@claim(
    "At 8 evaluations the flow is about half as far from the data as the better DDPM",
    low=0.4,
    high=0.6,
    seeds=(20, 21, 22, 23),
    slow=True,
)
def flow_ahead(seed: int) -> float:
    """Its distance in multiples of the better of the two."""
    found = {name: points[0][1] for name, points in ex.distances((8,), seed).items()}
    return found["flow, Euler"] / min(found["DDPM (eps), DDIM"], found["DDPM (v), DDIM"])


@claim("One step of the rectified flow beats eight of the first", high=0.8, seeds=(20, 21, 22, 23), slow=True)
def rectified_in_one_step(seed: int) -> float:
    """Its distance in multiples of that of the first flow with 8."""
    found = ex.distances((1, 8), seed)
    return found["flow rectified, Euler"][0][1] / found["flow, Euler"][1][1]


@cache
def digits_of_the_flow(seed: int) -> tuple[Tensor, Tensor]:
    """Digits of the flow in 10 and in 100 steps of Euler, from the same noise."""
    flow = checkpoint.load_flow("digits_flow", "cpu")
    few, many = (final_samples(flow_steps(flow, (32, 1, 8, 8), n, noise(seed))) for n in (10, 100))
    return few, many


@claim("ends within 0.1 of what 100 end in", high=0.1)
def flow_settles(seed: int) -> float:
    """Root mean square."""
    few, many = digits_of_the_flow(seed)
    return rms(few - many)


@claim("two digits are 0.7 apart", low=0.65, high=0.85)
def digits_are_apart(seed: int) -> float:
    """Root mean square between digits from different noise."""
    _, many = digits_of_the_flow(seed)
    return rms(many[1:] - many[:-1])


def in_the_flow_race(one: tuple[str, int], other: tuple[str, int]) -> float:
    """Distance of one (name, evaluations) over that of another, the worst of the seeds."""
    race = measured.flow_race()
    return max(a / b for a, b in zip(race.at(*one), race.at(*other), strict=True))


@claim("The flow is nearer to the data at every number of evaluations", high=0.9, seeds=(5, 10, 20, 50))
def flow_is_nearer(seed: int) -> float:
    """Its better solver over the better one of the DDPM, the worst of three seeds; by evaluations."""
    race = measured.flow_race()
    flow = map(min, race.at("flow, Euler", seed), race.at("flow, Heun", seed))
    ddpm = map(min, race.at("DDPM, DDIM", seed), race.at(f"DDPM, {DPM}", seed))
    return max(a / b for a, b in zip(flow, ddpm, strict=True))


@claim("Euler's 10 steps leave it nearer than 50 of DDIM, or of DPM-Solver++, leave the DDPM", high=0.999, seeds=(10,))
def ten_beat_fifty(seed: int) -> float:
    """The worst of three seeds and both solvers."""
    return max(in_the_flow_race(("flow, Euler", seed), (name, 50)) for name in ("DDPM, DDIM", f"DDPM, {DPM}"))


@claim("Heun with 5 evaluations is ahead of Euler with 5", high=0.95, seeds=(5,))
def heun_wins_on_the_flow(seed: int) -> float:
    """The worst of three seeds."""
    return in_the_flow_race(("flow, Heun", seed), ("flow, Euler", seed))
