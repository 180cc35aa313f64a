"""Notebook 15: score and Tweedie, the probability flow, solvers, targets, guidance, straight paths."""

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ddpm_lesson.diffusion import DenoiseDiffusion
from ddpm_lesson.flow import FlowMatching, flow_steps
from ddpm_lesson.lesson.ch15_beyond_ddpm import experiments as ex
from ddpm_lesson.lesson.ch15_beyond_ddpm.exercises import heun_step
from ddpm_lesson.lesson.kit.chain import log_normal
from ddpm_lesson.lesson.kit.mixture import TWO_BUMPS, GaussianMixture
from ddpm_lesson.lesson.kit.proof import Formula, ProofBook, largest, numbers, root, symbolic
from ddpm_lesson.sample import final_samples
from ddpm_lesson.schedule import NoiseSchedule

BOOK = ProofBook(15)
equation, prove, ledger = BOOK.equation, BOOK.prove, BOOK.ledger
LINE = torch.linspace(-9, 9, 36_001, dtype=torch.float64)
LEVELS = (0.9, 0.5, 0.05)  # alpha_bar
X = torch.linspace(-1.5, 1.5, 13, dtype=torch.float64)


def slope(log_p: Any, x: Tensor) -> Tensor:
    """The derivative of a function of x, by automatic differentiation."""
    with torch.enable_grad():
        x = x.clone().requires_grad_()
        return torch.autograd.grad(log_p(x).sum(), x)[0]


# Score


def score_of_eps(eps: Any, alpha_bar: Any) -> Any:
    """The score, by the noise."""
    return -eps / root(1 - alpha_bar)


@equation(
    "15.1",
    r"\nabla \log q(x_t) = -\frac{\mathbb{E}[\epsilon \mid x_t]}{\sqrt{1-\bar\alpha_t}}",
    "automatic differentiation of log q, against Bayes",
    1e-10,
)
def score_is_noise(formula: Formula = score_of_eps) -> float:
    """E[eps | x_t] of the two bumps by Bayes, and the slope of their log-density, differentiated."""
    errors = []
    for a in LEVELS:
        right = slope(TWO_BUMPS.noised(a).log_prob, X)
        errors.append(formula(TWO_BUMPS.exact_eps(X, a), torch.tensor(a, dtype=torch.float64)) - right)
    return largest(errors)


def tweedie(xt: Any, score: Any, alpha_bar: Any) -> Any:
    """The mean of x0 given x_t, by the score (Robbins 1956; Efron 2011)."""
    return (xt + (1 - alpha_bar) * score) / root(alpha_bar)


@equation(
    "15.2",
    r"\mathbb{E}[x_0 \mid x_t] = \frac{x_t + (1-\bar\alpha_t)\,\nabla \log q(x_t)}{\sqrt{\bar\alpha_t}}",
    "Bayes on a grid of x_0",
    1e-6,
)
def tweedies_formula(formula: Formula = tweedie) -> float:
    """The posterior of x_0 on a grid, prior times likelihood, against the slope of log q."""
    errors = []
    for a in LEVELS:
        log_p = TWO_BUMPS.log_prob(LINE) + log_normal(X[:, None], a**0.5 * LINE, 1 - a)
        mean = (log_p.softmax(-1) * LINE).sum(-1)
        errors.append(formula(X, slope(TWO_BUMPS.noised(a).log_prob, X), torch.tensor(a, dtype=torch.float64)) - mean)
    return largest(errors)


# The equation


def probability_flow(x: Any, score: Any) -> Any:
    """dx/ds with s = -log alpha_bar, where beta dt = ds (Song et al. 2021, SDE, Eq. 13)."""
    return -(x + score) / 2


@equation(
    "15.3",
    r"\frac{\mathrm{d}x}{\mathrm{d}t} = -\tfrac12\,\beta(t)\,\big(x + \nabla \log q_t(x)\big)",
    "the exact path of every quantile, differentiated",
    1e-6,
)
def flow_keeps_the_marginals(formula: Formula = probability_flow) -> float:
    """Points that keep their rank have the marginals at every time; their speed by central differences."""
    errors, h = [], 1e-4
    for a in LEVELS:
        before, here, after = (TWO_BUMPS.noised(a * math.exp(-d)).quantile(ex.RANKS) for d in (-h, 0, h))
        errors.append(formula(here, ex.score(here, a)) - (after - before) / (2 * h))
    return largest(errors)


def along_r(x: Any, eps: Any, alpha_bar: Any) -> Any:
    """dy/dr with y = x / sqrt(alpha_bar) and r = sqrt(1 / alpha_bar - 1)."""
    return eps


@equation(
    "15.4",
    r"\frac{\mathrm{d}y}{\mathrm{d}r} = \mathbb{E}[\epsilon \mid x_t]",
    "change of variables in (15.3), sympy",
    0.0,
)
def the_same_without_shrinking(formula: Formula = along_r) -> float:
    """dy/ds over dr/ds, where alpha_bar falls as d alpha_bar = -alpha_bar ds."""
    import sympy

    x, eps, a = sympy.symbols("x eps a", positive=True)
    s = sympy.Symbol("s")
    bar = a * sympy.exp(-s)
    dx = probability_flow(x, score_of_eps(eps, a))
    dy = dx / sympy.sqrt(a) + x * sympy.diff(1 / sympy.sqrt(bar), s).subs(s, 0)
    dr = sympy.diff(sympy.sqrt(1 / bar - 1), s).subs(s, 0)
    return symbolic((dy / dr - formula(x, eps, a)).subs(a, 1 / (1 + sympy.Symbol("k", positive=True))))


def growth(divergence_of_score: Any, d: int) -> Any:
    """d/ds of log q_s(x_s) along the path of ``d`` values: minus the divergence of (15.3)."""
    return (d + divergence_of_score) / 2


@equation(
    "15.5",
    r"\log q_0(x_0) = \log q_T(x_T) - \int_0^T \tfrac12\,\beta(t)\,\big(d + \nabla\!\cdot\nabla \log q_t(x_t)\big)\,"
    r"\mathrm{d}t",
    "along exact paths, on a line and for Gaussians of 2 and 64 values",
    1e-5,
)
def likelihood_on_the_way(formula: Formula = growth) -> float:
    """The integral over s = -log alpha_bar from 0 to 12, by Gauss and Legendre's rule in the root of s."""
    nodes, weights = (torch.tensor(values) for values in np.polynomial.legendre.leggauss(80))
    levels = 3 * (nodes + 1) ** 2
    weights = 6 * (nodes + 1) * weights  # ds by d(root)
    end, change = TWO_BUMPS.noised(math.exp(-12)), torch.zeros(len(ex.RANKS), dtype=torch.float64)
    for s, weight in zip(levels.tolist(), weights.tolist(), strict=True):
        a = math.exp(-s)
        change = change + weight * formula(ex.slope_of_score(TWO_BUMPS.noised(a).quantile(ex.RANKS), a), 1)
    found = end.log_prob(end.quantile(ex.RANKS)) - change
    errors = [found - TWO_BUMPS.log_prob(TWO_BUMPS.quantile(ex.RANKS))]
    for d in (2, 64):  # data N(0, I / 4): points keep their place in units of the standard deviation
        var = 1 - 0.75 * torch.exp(-levels)
        change = (weights * formula(-d / var, d)).sum()
        errors.append(d / 2 * math.log((1 - 0.75 * math.exp(-12)) / 0.25) + change)
    return largest(errors)


# Solvers


@equation(
    "15.6",
    r"y_\mathrm{prev} = y + (r_\mathrm{prev} - r)\,\tfrac12(\epsilon + \epsilon')",
    "a long step worked out; steps of half the length, against the exact path",
    0.05,
)
def one_step_of_heun(formula: Formula = heun_step) -> float:
    """log2 of how much smaller the error of a half step is, for steps from r = 1; 3 is right. And one long step.

    With the slope r y from y = 1: the trial step from r = 1 to 3 ends at 3 with a slope of 9, so the step ends at 11.
    """

    def path(r: float) -> Tensor:
        return TWO_BUMPS.noised(1 / (1 + r * r)).quantile(ex.RANKS) * math.sqrt(1 + r * r)

    def slopes(y: Tensor, r: float) -> Tensor:
        return TWO_BUMPS.exact_eps(y / math.sqrt(1 + r * r), 1 / (1 + r * r))

    errors = [(formula(path(1.0), 1.0, 1 - h, slopes) - path(1 - h)).square().mean().sqrt() for h in (0.004, 0.002)]
    long = formula(torch.ones(1, dtype=torch.float64), 1.0, 3.0, lambda y, r: r * y)
    return largest([torch.tensor(math.log2(float(errors[0] / errors[1])) - 3), long - 11])


def dpm_step(xt: Any, ahead: Any, alpha_bar: Any, alpha_bar_prev: Any) -> Any:
    """x_prev if the estimate is ``ahead`` all along the step (Lu et al. 2022, DPM-Solver++, Eq. 9)."""
    return root((1 - alpha_bar_prev) / (1 - alpha_bar)) * xt + root(alpha_bar_prev) * ahead * (
        1 - root(alpha_bar / (1 - alpha_bar)) / root(alpha_bar_prev / (1 - alpha_bar_prev))
    )


@equation(
    "15.7",
    r"x_\mathrm{prev} = \sqrt{\tfrac{1-\bar\alpha_\mathrm{prev}}{1-\bar\alpha_t}}\;x_t "
    r"+ \sqrt{\bar\alpha_\mathrm{prev}}\,(1 - e^{-h})\,\hat x_0",
    "the DDIM step of (11.6), sympy",
    0.0,
)
def first_order_is_ddim(formula: Formula = dpm_step) -> float:
    """With h the rise of lambda: DDIM is the same step, told with x_t and the guess."""
    import sympy

    xt, x0, u, v = sympy.symbols("xt x0 u v", positive=True)
    prev = 1 / (1 + u)
    a = prev / (1 + v)
    eps = (xt - sympy.sqrt(a) * x0) / sympy.sqrt(1 - a)
    return symbolic(formula(xt, x0, a, prev) - sympy.sqrt(prev) * x0 - sympy.sqrt(1 - prev) * eps)


# Targets


def velocity_on_the_circle(x0: Any, eps: Any, alpha_bar: Any) -> Any:
    """The target v (Salimans and Ho 2022, section 4)."""
    return root(alpha_bar) * eps - root(1 - alpha_bar) * x0


@equation(
    "15.8",
    r"v = \frac{\mathrm{d}x_t}{\mathrm{d}\varphi} = \sqrt{\bar\alpha_t}\,\epsilon - \sqrt{1-\bar\alpha_t}\,x_0, \quad "
    r"\cos\varphi = \sqrt{\bar\alpha_t}",
    "automatic differentiation along the circle; the package's target",
    1e-10,
)
def v_is_a_velocity(formula: Formula = velocity_on_the_circle) -> float:
    """An image turned into its noise by the angle phi, differentiated; at every time of a short chain."""
    schedule = NoiseSchedule.linear(50, 1e-3, 0.2).to(torch.float64)
    (x0, eps), t = numbers(2, 50, 1, seed=4), torch.arange(50)
    model = DenoiseDiffusion(torch.nn.Identity(), schedule=schedule, prediction="v")
    alpha_bar = schedule.alpha_bar[:, None]
    phi = alpha_bar.sqrt().acos()
    right = slope(lambda phi: phi.cos() * x0 + phi.sin() * eps, phi)
    return largest([formula(x0, eps, alpha_bar) - right, model.target(x0, eps, t) - right])


def weights(snr: Tensor) -> dict[str, Tensor]:
    """What an error of the image counts in the loss of each target."""
    return {"x0": torch.ones_like(snr), "eps": snr, "v": snr + 1}


@equation(
    "15.9",
    r"\lVert\epsilon - \epsilon_\theta\rVert^2 = \mathrm{SNR}\,\lVert x_0 - \hat x_0\rVert^2, \quad "
    r"\lVert v - v_\theta\rVert^2 = (\mathrm{SNR} + 1)\,\lVert x_0 - \hat x_0\rVert^2",
    "the package's losses and estimates, in float64",
    1e-10,
)
def one_regression(formula: Formula = weights) -> float:
    """A network that answers nonsense: its loss at every time, and the error of the image that it leads to."""
    schedule = NoiseSchedule.linear(50, 1e-3, 0.2).to(torch.float64)
    (x0, eps), t = numbers(2, 50, 1, seed=3), torch.arange(50)
    errors, found = [], formula(schedule.snr)
    for kind in ("x0", "eps", "v"):
        model = DenoiseDiffusion(torch.nn.Identity(), schedule=schedule, clip_x0=False, prediction=kind)
        model.eps_model.forward = lambda xt, t: (3 * xt).sin()
        xt = model.q_sample(x0, t, eps)
        missed = (model.eps_model(xt, t) - model.target(x0, eps, t)) ** 2
        errors.append(missed / (model.denoise(xt, t) - x0) ** 2 / found[kind][:, None] - 1)
    return largest(errors)


# Guidance


def guide(null: Tensor, label: Tensor, scale: float) -> Tensor:
    """Classifier-free guidance (Ho and Salimans 2022, Eq. 6)."""
    return null + scale * (label - null)


@equation(
    "15.10",
    r"\epsilon_s = \epsilon_\varnothing + s\,(\epsilon_c - \epsilon_\varnothing) "
    r"= -\sqrt{1-\bar\alpha_t}\;\nabla \log\big(q(x_t \mid c)^{s}\, q(x_t)^{1-s}\big)",
    "automatic differentiation",
    1e-10,
)
def guidance_is_a_slope(formula: Formula = guide) -> float:
    """Of the densities of two classes at three noise levels, for four scales."""
    label = GaussianMixture([1.0], ex.CLASSES.means[1:], ex.CLASSES.stds[1:])
    errors = []
    for a in LEVELS:
        c, both = label.noised(a), ex.CLASSES.noised(a)
        for s in (0.0, 1.0, 2.0, 5.0):
            right = -math.sqrt(1 - a) * slope(lambda x, s=s: s * c.log_prob(x) + (1 - s) * both.log_prob(x), X)  # noqa: B023
            errors.append(formula(ex.CLASSES.exact_eps(X, a), label.exact_eps(X, a), s) - right)
    return largest(errors)


def guide_by_classifier(null: Tensor, label_slope: Tensor, alpha_bar: float, scale: float) -> Tensor:
    """Classifier guidance, by the slope of log p(c | x_t) (Dhariwal and Nichol 2021, Algorithm 2)."""
    return null - scale * math.sqrt(1 - alpha_bar) * label_slope


@equation(
    "15.11",
    r"q(x_t \mid c)^{s}\, q(x_t)^{1-s} \propto q(x_t)\, p(c \mid x_t)^{s}, \qquad "
    r"\epsilon_s = \epsilon_\varnothing - s\,\sqrt{1-\bar\alpha_t}\;\nabla \log p(c \mid x_t)",
    "both densities; automatic differentiation of a perfect classifier",
    1e-10,
)
def guidance_by_a_classifier(formula: Formula = guide_by_classifier) -> float:
    """The classifier is Bayes' rule for two noisy classes; the other side are the two answers of (15.10)."""
    label = GaussianMixture([1.0], ex.CLASSES.means[1:], ex.CLASSES.stds[1:])
    errors = []
    for a in LEVELS:
        c, both = label.noised(a), ex.CLASSES.noised(a)

        def log_label(x: Tensor, both: GaussianMixture = both) -> Tensor:
            return both.responsibilities(x)[..., 1].log()

        null, answer = ex.CLASSES.exact_eps(X, a), label.exact_eps(X, a)
        for s in (0.0, 1.0, 2.0, 5.0):
            errors.append(formula(null, slope(log_label, X), a, s) - guide(null, answer, s))
            gap = s * c.log_prob(X) + (1 - s) * both.log_prob(X) - both.log_prob(X) - s * log_label(X)
            errors.append(gap - gap[0])  # in proportion: the same factor at every x
    return largest(errors)


def guided_stds(a: float, b: float, s: float) -> tuple[float, float]:
    """Of the samples, and of the tilted density, if the class is N(m, a^2) and everything N(0, b^2)."""
    return a**s * b ** (1 - s), (s / a**2 + (1 - s) / b**2) ** -0.5


@equation(
    "15.12",
    r"\mathrm{std}_\text{guided} = a^{s}\,b^{1-s}, \qquad \Big(\tfrac{s}{a^2} + \tfrac{1-s}{b^2}\Big)^{-1/2} "
    r"= \mathrm{std}\big[p(x\mid c)^s\,p(x)^{1-s}\big]",
    "two points that follow the guided noise; the density on a grid",
    1e-4,
)
def not_the_tilted_density(formula: Formula = guided_stds) -> float:
    """The points start at plus and minus one standard deviation of the noise; the class lies at 0.8."""
    errors = []
    for a, b, s in ((0.5, 1.0, 1.0), (0.5, 1.0, 3.0), (0.7, 0.9, 2.0)):
        label, both = GaussianMixture([1.0], [0.8], [a]), GaussianMixture([1.0], [0.0], [b])
        log_p = s * label.log_prob(LINE) + (1 - s) * both.log_prob(LINE)
        p = log_p.softmax(-1)
        tilted = ((p * LINE**2).sum() - (p * LINE).sum() ** 2).sqrt()
        low, high = followed(label, both, s)
        errors += [right / found - 1 for found, right in zip(formula(a, b, s), ((high - low) / 2, tilted), strict=True)]
    return largest(errors)


def followed(label: GaussianMixture, both: GaussianMixture, scale: float, n: int = 400) -> Tensor:
    """Where guided noise takes y = -r and y = r from r = 1000 to 0.0001, (2,); Runge and Kutta's rule in log r."""

    def speed(y: Tensor, log_r: float) -> Tensor:
        r = math.exp(log_r)
        alpha_bar = 1 / (1 + r * r)
        x = math.sqrt(alpha_bar) * y
        return r * guide(both.exact_eps(x, alpha_bar), label.exact_eps(x, alpha_bar), scale)

    y, log_r, h = torch.tensor([-1000.0, 1000.0], dtype=torch.float64), math.log(1000), math.log(1e-7) / n
    for _ in range(n):
        k1 = speed(y, log_r)
        k2 = speed(y + h / 2 * k1, log_r + h / 2)
        k3 = speed(y + h / 2 * k2, log_r + h / 2)
        k4 = speed(y + h * k3, log_r + h)
        y, log_r = y + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4), log_r + h
    return y


# Straight paths


def velocity(xt: Tensor, x0: Tensor, t: float) -> Tensor:
    """E[eps - x0 | x_t] on straight paths, by the mean of x0."""
    return (xt - x0) / t


@equation(
    "15.13",
    r"u(x_t, t) = \mathbb{E}[\epsilon - x_0 \mid x_t] = \frac{x_t - \mathbb{E}[x_0 \mid x_t]}{t}",
    "the speed of every quantile of x_t",
    1e-5,
)
def velocity_of_the_marginals(formula: Formula = velocity) -> float:
    """Points that keep their rank among (1 - t) x0 + t eps, by central differences in t; E[x0 | x_t] by Bayes."""
    errors, h = [], 1e-4
    for t in (0.1, 0.5, 0.9):
        before, here, after = (straight(t + d).quantile(ex.RANKS) for d in (-h, 0, h))
        log_p = TWO_BUMPS.log_prob(LINE) + log_normal(here[:, None], (1 - t) * LINE, t * t)
        x0 = (log_p.softmax(-1) * LINE).sum(-1)
        errors.append(formula(here, x0, t) - (after - before) / (2 * h))
    return largest(errors)


def straight(t: float) -> GaussianMixture:
    """The distribution of x_t = (1 - t) x0 + t eps for the two bumps."""
    stds = ((1 - t) ** 2 * TWO_BUMPS.stds**2 + t * t).sqrt()
    return GaussianMixture(TWO_BUMPS.weights, (1 - t) * TWO_BUMPS.means, stds)


def same_rank(noise: Tensor) -> Tensor:
    """The value of the data with the rank that ``noise`` has."""
    return TWO_BUMPS.quantile(torch.special.ndtr(noise))


@equation(
    "15.14",
    r"\text{on a line:}\quad x_0 = F^{-1}\big(\Phi(\epsilon)\big), \qquad x_t = (1-t)\,F^{-1}\big(\Phi(\epsilon)\big) "
    r"+ t\,\epsilon "
    r"\ \text{after rectifying}",
    "the flow in 200 steps of Heun",
    1e-3,
)
def flow_keeps_ranks(formula: Formula = same_rank) -> float:
    """Where the exact velocity takes starts; pairs of equal rank never cross, so their straight lines are a flow."""
    start = torch.special.ndtri(ex.RANKS)[:, None]
    steps = flow_steps(FlowMatching(ex.ExactVelocity()), start.shape, 200, solver="heun", start=start)
    ends = formula(start.flatten())
    crossings = [((1 - t) * ends + t * start.flatten()).diff().clamp(max=0) for t in (0.0, 0.3, 0.7, 1.0)]
    return largest([final_samples(steps).flatten() - ends, *crossings])
