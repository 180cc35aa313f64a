"""The score, the equation that it makes flow, and solvers of it: (15.1) to (15.7)."""

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ddpm_lesson.lesson.ch15_beyond_ddpm import experiments as ex
from ddpm_lesson.lesson.ch15_beyond_ddpm.exercises import heun_step
from ddpm_lesson.lesson.kit.chain import log_normal
from ddpm_lesson.lesson.kit.mixture import TWO_BUMPS
from ddpm_lesson.lesson.kit.proof import Formula, ProofBook, largest, root, symbolic

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
