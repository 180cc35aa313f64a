"""What notebook 15 tries out, on data whose score, velocity and likelihood are known exactly."""

import math
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache, partial
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from ddpm_lesson.bound import gaussian_kl
from ddpm_lesson.diffusion import DenoiseDiffusion
from ddpm_lesson.flow import FlowMatching, FlowStep, flow_steps
from ddpm_lesson.lesson.kit.chain import log_normal
from ddpm_lesson.lesson.kit.mixture import TWO_BUMPS, ExactLabelled, ExactNoise, GaussianMixture
from ddpm_lesson.sample import ReverseStep, ddim_steps, dpm_steps, final_samples, guided, heun_steps
from ddpm_lesson.schedule import NoiseSchedule

Steps = Callable[..., Iterator[ReverseStep]]
SOLVERS: dict[str, tuple[Steps, int]] = {  # name -> sampler, evaluations of the network a step
    "DDIM (Euler)": (ddim_steps, 1),
    "Heun": (heun_steps, 2),
    "DPM-Solver++(2M)": (dpm_steps, 1),
}
RANKS = (torch.arange(200, dtype=torch.float64) + 0.5) / 200  # of the points that are followed


def perfect(data: GaussianMixture = TWO_BUMPS) -> DenoiseDiffusion:
    """A thousand steps with the exact noise, in float64."""
    schedule = NoiseSchedule.linear().to(torch.float64)
    return DenoiseDiffusion(ExactNoise(data, schedule), schedule=schedule, clip_x0=False)


# The equation


def score(x: Tensor, alpha_bar: float) -> Tensor:
    """d/dx log q(x_t) of the two bumps, the shape of ``x``."""
    return -TWO_BUMPS.exact_eps(x, alpha_bar) / math.sqrt(1 - alpha_bar)


def slope_of_score(x: Tensor, alpha_bar: float) -> Tensor:
    """Its derivative, by automatic differentiation."""
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        return torch.autograd.grad(score(x, alpha_bar).sum(), x)[0]


def log_likelihood(x0: Tensor, n_steps: int = 200) -> Tensor:
    """log p(x0) in nats, (N,), by the probability-flow equation alone: (15.5), with the midpoint rule.

    From s = -log alpha_bar near 0 to s = 12, where the marginal is N(0, 1) up to 1e-5.
    """
    edges = torch.linspace(1e-3, 12**0.5, n_steps + 1, dtype=torch.float64) ** 2  # fine steps near the data
    x, change = x0.double(), torch.zeros(len(x0), dtype=torch.float64)
    for s, s_next in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        ds, a, a_mid = s_next - s, math.exp(-s), math.exp(-(s + s_next) / 2)
        middle = x - ds / 4 * (x + score(x, a))
        change += ds / 2 * (1 + slope_of_score(middle, a_mid))
        x = x - ds / 2 * (middle + score(middle, a_mid))
    return log_normal(x, torch.zeros(()), 1.0) - change


@torch.no_grad()
def bound(x0: Tensor, n_nodes: int = 10) -> float:
    """The bound on -log p of the perfect DDPM with sigma2 = beta in nats, the mean over ``x0`` (N,).

    The mean over the noise of every time by Gauss and Hermite's rule; the last step is a Gaussian of variance beta_0.
    """
    model, (nodes, weights) = perfect(), map(torch.tensor, np.polynomial.hermite_e.hermegauss(n_nodes))
    share = (weights / weights.sum() / len(x0)).repeat(len(x0))[:, None]
    x0, eps, total = x0.double().repeat_interleave(n_nodes)[:, None], nodes.repeat(len(x0))[:, None], 0.0
    for t in range(model.n_steps):
        times = torch.full((len(x0),), t)
        xt = model.q_sample(x0, times, eps)
        mean, var = model.q_posterior(x0, xt, times)
        guess, _ = model.q_posterior(model.denoise(xt, times), xt, times)
        sigma2 = model.sigma2[t]
        total += (share * (gaussian_kl(mean, var, guess, sigma2) if t else -log_normal(x0, guess, sigma2))).sum()
    end = model.alpha_bar[-1]
    return float(total + gaussian_kl(end.sqrt() * x0, 1 - end, torch.zeros(()), torch.ones(())).mean())


# Solvers


def solver_errors(counts: Sequence[int], until: int = 0) -> dict[str, list[tuple[int, float]]]:
    """Every solver with every number of steps: how often it asked, and how far points are from where they belong.

    Points start at ``RANKS`` of q(x_T) and keep their ranks on the exact path. ``until`` 0 judges the samples; else
    x_t at that time, which must be visited: there the equation is smooth.
    """
    model = perfect()
    alpha_bar = model.alpha_bar.tolist()
    start = TWO_BUMPS.noised(alpha_bar[-1]).quantile(RANKS)[:, None]
    right = (TWO_BUMPS.noised(alpha_bar[until]) if until else TWO_BUMPS).quantile(RANKS)
    errors = {}
    for name, (steps, cost) in SOLVERS.items():
        errors[name] = []
        for n in counts:
            states = list(steps(model, start.shape, n, start=start))
            at = next(s.xt for s in states if s.t == until) if until else states[-1].x0_hat
            asked = cost * sum(s.t > until for s in states) if until else cost * n - (cost - 1)
            errors[name].append((asked, float((at.flatten() - right).square().mean().sqrt())))
    return errors


class LastJump(NamedTuple):
    """What the error of a solver's samples is made of; errors are root mean squares over ``RANKS``."""

    solver: str
    asked: int  # evaluations of the network
    t: int  # where it asks for the last time
    arrives: float  # its error there
    jump: float  # that of E[x0 | x_t] from the right place there
    ends: float  # that of the samples

    def __str__(self) -> str:
        there = f"at t = {self.t:3d} {self.arrives:.3f} off, the jump alone {self.jump:.3f}"
        return f"{self.solver:16s} asks {self.asked:2d} times: {there}, samples {self.ends:.3f}"


def last_jumps(at_most: int = 10) -> list[LastJump]:
    """Every solver of two bumps with so many evaluations, or one fewer, taken apart before its last jump."""
    model = perfect()
    start, found = TWO_BUMPS.noised(float(model.alpha_bar[-1])).quantile(RANKS)[:, None], []
    for name, (steps, cost) in SOLVERS.items():
        n = (at_most + cost - 1) // cost
        last = list(steps(model, start.shape, n, start=start))[-1]
        a = float(model.alpha_bar[last.t])
        there, data = TWO_BUMPS.noised(a).quantile(RANKS), TWO_BUMPS.quantile(RANKS)
        errors = last.xt.flatten() - there, TWO_BUMPS.exact_x0(there, a) - data, last.x0_hat.flatten() - data
        arrives, jump, ends = (float(error.square().mean().sqrt()) for error in errors)
        found.append(LastJump(name, cost * n - cost + 1, last.t, arrives, jump, ends))
    return found


def in_ten(model: DenoiseDiffusion, shape: Sequence[int], generator: torch.Generator) -> dict[str, Tensor]:
    """Samples from one start by every solver with ten evaluations or nine, and ``"path"``, where fine steps end."""
    start = torch.randn(tuple(shape), generator=generator)
    ends = {name: final_samples(go(model, shape, 10 // cost, start=start)) for name, (go, cost) in SOLVERS.items()}
    return ends | {"path": final_samples(heun_steps(model, shape, 50, start=start))}


# Guidance


CLASSES = GaussianMixture([0.5, 0.5], [-0.6, 0.6], [0.5, 0.5])  # two classes that overlap, one bump each


def labelled() -> DenoiseDiffusion:
    """A thousand steps with the exact noise of a class, or of both."""
    schedule = NoiseSchedule.linear().to(torch.float64)
    return DenoiseDiffusion(ExactLabelled(CLASSES, schedule), schedule=schedule, clip_x0=False)


@lru_cache(maxsize=64)
def guided_ends(scale: float, n_steps: int = 100) -> Tensor:
    """Where the guided path for class 1 takes the starts with ``RANKS``, (200,), rising; by Heun's method."""
    start = torch.special.ndtri(RANKS)[:, None]
    model = guided(labelled(), torch.tensor([1]), scale)
    return final_samples(heun_steps(model, start.shape, n_steps, start=start)).flatten().sort().values


def tilted(x: Tensor, scale: float) -> Tensor:
    """p(x | c)^scale p(x)^(1 - scale) for class 1, scaled to integrate to 1 over ``x``, an even grid (N,)."""
    label = GaussianMixture([1.0], CLASSES.means[1:], CLASSES.stds[1:])
    log_p = scale * label.log_prob(x) + (1 - scale) * CLASSES.log_prob(x)
    p = (log_p - log_p.max()).exp()
    return p / torch.trapezoid(p, x)


# Flow


class ExactVelocity(nn.Module):
    """E[eps - x0 | x_t] on straight paths, for the two bumps, all at one time."""

    def forward(self, xt: Tensor, t1000: Tensor) -> Tensor:
        """(B, 1), 1000 t -> (B, 1): (15.13)."""
        t = float(t1000[0]) / 1000
        if t == 0:
            return -xt  # the data are known, the noise is not
        size = math.hypot(t, 1 - t)  # x_t is so many times the x_t of a DDPM with the same ratio of image and noise
        x0 = TWO_BUMPS.exact_x0(xt / size, ((1 - t) / size) ** 2) if t < 1 else torch.full_like(xt, TWO_BUMPS.mean)
        return (xt - x0) / t


class PointNet(nn.Module):
    """A network for points on a line: x and a few waves of the time, two hidden layers."""

    def __init__(self, width: int = 64):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(8, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, 1)
        )

    def forward(self, xt: Tensor, t: Tensor) -> Tensor:
        """(B, 1), (B,) -> (B, 1)."""
        angles = t[:, None].to(xt) / 1000 * torch.pi * torch.tensor([0.5, 1.0, 2.0])
        return self.layers(torch.cat((2 * xt, t[:, None].to(xt) / 500 - 1, angles.sin(), angles.cos()), dim=1))


@lru_cache(maxsize=16)
def trained(kind: str, seed: int = 0, n_steps: int = 1500) -> DenoiseDiffusion | FlowMatching:
    """The same network, data and budget for ``"eps"``, ``"v"``, ``"x0"`` or ``"flow"``; the global seed stays."""
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(seed)
        net = PointNet()
        model = FlowMatching(net) if kind == "flow" else DenoiseDiffusion(net, clip_x0=False, prediction=kind)
        fit(model, lambda: (TWO_BUMPS.sample(256).float()[:, None], None), n_steps)
    return model.eval()


def fit(model: nn.Module, draw: Callable[[], tuple[Tensor, Tensor | None]], n_steps: int) -> None:
    """Adam with a rate that falls to zero; ``draw`` gives data and noise, or None for fresh noise."""
    optimizer = torch.optim.Adam(model.parameters(), 4e-3)
    rate = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, n_steps)
    for _ in range(n_steps):
        x0, noise = draw()
        optimizer.zero_grad()
        model.loss(x0, noise).backward()
        optimizer.step()
        rate.step()


@lru_cache(maxsize=4)
def rectified(seed: int = 0, n_steps: int = 1500) -> FlowMatching:
    """A second flow, trained on the pairs of noise and sample that the first one makes (Liu et al. 2023)."""
    first = trained("flow", seed, n_steps)
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(1000 + seed)
        noise = torch.randn(4000, 1)
        ends = final_samples(flow_steps(first, noise.shape, 40, solver="heun", start=noise))
        second = FlowMatching(PointNet())

        def pairs() -> tuple[Tensor, Tensor]:
            chosen = torch.randint(len(noise), (256,))
            return ends[chosen], noise[chosen]

        fit(second, pairs, n_steps)
    return second.eval()


Sampler = Callable[[int, Tensor], Tensor]


def samplers(seed: int = 0) -> dict[str, Sampler]:
    """Trained networks by name: from evaluations and starts to samples."""
    eps, v, flow = (trained(kind, seed) for kind in ("eps", "v", "flow"))
    return {
        "DDPM (eps), DDIM": lambda n, start: final_samples(ddim_steps(eps, start.shape, n, start=start)),
        "DDPM (v), DDIM": lambda n, start: final_samples(ddim_steps(v, start.shape, n, start=start)),
        "flow, Euler": partial(flow_ends, flow),
        "flow rectified, Euler": partial(flow_ends, rectified(seed)),
    }


def flow_ends(flow: FlowMatching, n: int, start: Tensor) -> Tensor:
    """Samples of a flow by Euler's method."""
    return final_samples(flow_steps(flow, start.shape, n, start=start))


def distances(counts: Sequence[int], seed: int = 0, n: int = 2000) -> dict[str, list[tuple[int, float]]]:
    """Distance of samples from the two bumps for every network and number of evaluations, from one set of starts."""
    start = torch.special.ndtri((torch.arange(n, dtype=torch.float64) + 0.5) / n).float()[:, None]
    found = samplers(seed)
    return {name: [(k, TWO_BUMPS.distance(draw(k, start))) for k in counts] for name, draw in found.items()}


def bend(states: Sequence[FlowStep]) -> float:
    """How far paths are from straight: the largest gap to the chord at any time, the mean over the batch."""
    first, last = states[0].xt, states[-1].x0_hat
    gaps = [(s.xt - (1 - s.t) * last - s.t * first).abs() for s in states]
    return float(torch.stack(gaps).amax(0).mean())
