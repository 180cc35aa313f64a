"""Notebook 05: what is lost without t, and the clock hands that tell it.

Formulas that sympy checks are plain functions of symbols. Code counts t = 0 .. T-1.
"""

import cmath
import math
from typing import Any

import torch
from torch import Tensor

from ddpm_lesson.lesson.ch05_time_embedding.exercises import steps_per_turn
from ddpm_lesson.lesson.ch05_time_embedding.experiments import excess_error, timeless_eps
from ddpm_lesson.lesson.kit.chain import log_normal, short_chain
from ddpm_lesson.lesson.kit.mixture import TWO_BUMPS, GaussianMixture
from ddpm_lesson.lesson.kit.proof import Formula, ProofBook, largest, symbolic
from ddpm_lesson.schedule import NoiseSchedule
from ddpm_lesson.unet import TimeEmbedding

BOOK = ProofBook(5)
equation, prove, ledger = BOOK.equation, BOOK.prove, BOOK.ledger

LINE = torch.linspace(-6, 6, 1201, dtype=torch.float64)  # for x_t, x0 and eps


# Without t


@equation(
    "5.1",
    r"\mathbb{E}[\epsilon \mid x_t] = \sum_t p(t \mid x_t)\,\mathbb{E}[\epsilon \mid x_t, t], \quad "
    r"p(t \mid x_t) = \frac{q(x_t \mid t)}{\sum_s q(x_t \mid s)}",
    "quadrature",
    1e-9,
)
def best_without_t(formula: Formula = timeless_eps) -> float:
    """Against the mean of eps over all x0 and all t that lead to x_t, each as likely as it is."""
    schedule = short_chain().to(torch.float64)
    xt = torch.linspace(-3, 3, 41, dtype=torch.float64)[:, None]
    total, likelihood = 0.0, 0.0
    for alpha_bar in schedule.alpha_bar:
        eps = (xt - alpha_bar.sqrt() * LINE) / (1 - alpha_bar).sqrt()  # (41, 1201), one for each x0
        joint = TWO_BUMPS.prob(LINE) * log_normal(xt, alpha_bar.sqrt() * LINE, 1 - alpha_bar).exp()
        total = total + torch.trapezoid(joint * eps, LINE)
        likelihood = likelihood + torch.trapezoid(joint, LINE)
    return largest([formula(TWO_BUMPS, schedule, xt)[:, 0] - total / likelihood])


def floor_and_price(data: GaussianMixture, schedule: NoiseSchedule) -> float:
    """The loss that remains when t is known, and what not knowing it adds; by quadrature over x_t."""
    told = [data.exact_eps(LINE, float(alpha_bar)) for alpha_bar in schedule.alpha_bar]
    seen = [data.noised(float(alpha_bar)).prob(LINE) for alpha_bar in schedule.alpha_bar]
    pairs = zip(told, seen, strict=True)
    floor = sum(1 - float(torch.trapezoid(eps**2 * q, LINE)) for eps, q in pairs) / schedule.n_steps  # E eps^2 = 1
    price = excess_error(timeless_eps(data, schedule, LINE[:, None])[:, 0], data, schedule, LINE)
    return floor + float(price.mean())


@equation(
    "5.2",
    r"\mathbb{E}\,(\epsilon - \mathbb{E}[\epsilon \mid x_t])^2 = "
    r"\mathbb{E}\,(\epsilon - \mathbb{E}[\epsilon \mid x_t, t])^2 + "
    r"\mathbb{E}\,(\mathbb{E}[\epsilon \mid x_t, t] - \mathbb{E}[\epsilon \mid x_t])^2",
    "quadrature",
    1e-6,
)
def price_of_not_knowing(formula: Formula = floor_and_price) -> float:
    """Against the squared error itself, integrated over x0 and eps."""
    schedule = short_chain().to(torch.float64)
    x0, eps = torch.linspace(-2.2, 2.2, 221, dtype=torch.float64), LINE[::8]
    density = TWO_BUMPS.prob(x0)[:, None] * log_normal(eps, 0.0, 1.0).exp()
    losses = []
    for alpha_bar in schedule.alpha_bar:
        xt = alpha_bar.sqrt() * x0[:, None] + (1 - alpha_bar).sqrt() * eps  # (221, 151)
        guess = timeless_eps(TWO_BUMPS, schedule, xt.reshape(-1, 1)).view(xt.shape)
        square = torch.trapezoid(density * (eps - guess) ** 2, eps)
        losses.append(float(torch.trapezoid(square, x0)))
    return abs(formula(TWO_BUMPS, schedule) - sum(losses) / len(losses))


# Clock hands


def sinusoids(t: Tensor, n: int) -> Tensor:
    """The package's sinusoids, ``n`` of them: (B,) -> (B, n)."""
    return TimeEmbedding(4 * n).sinusoids(t)


@equation(
    "5.3",
    r"s(t) = (\sin\omega_0 t, \dots, \sin\omega_{h-1} t,\ \cos\omega_0 t, \dots, \cos\omega_{h-1} t), \quad "
    r"\omega_i = 10{,}000^{-i/(h-1)}",
    "powers of complex numbers",
    1e-4,
)
def clock_hands(formula: Formula = sinusoids) -> float:
    """Against hands that are turned t times by the angle of one step, each a fixed factor slower than the last."""
    times, errors = [0, 1, 2, 57, 500, 999], []
    for half in (2, 4, 12, 64):
        steps = [1.0]  # angle of one step
        while len(steps) < half:
            steps.append(steps[-1] / 10_000 ** (1 / (half - 1)))
        hands = torch.tensor([[cmath.exp(1j * step) ** t for step in steps] for t in times])
        errors.append(formula(torch.tensor(times), 2 * half) - torch.cat((hands.imag, hands.real), dim=1))
    return largest(errors)


@equation(
    "5.4",
    r"P_i = \frac{2\pi}{\omega_i} = 2\pi \cdot 10{,}000^{\,i/(h-1)}",
    "following the hands",
    1e-4,
)
def steps_for_a_turn(formula: Formula = steps_per_turn) -> float:
    """After a part of these steps, the package's hand must have made that part of a turn.

    The parts have no common measure, so that a hand that makes nine turns, or goes the other way round, is somewhere
    else.
    """
    parts, errors = torch.tensor([0.0, 0.1234, 0.3719, 0.6180, 1.0], dtype=torch.float64), []
    for half in (4, 12, 64):
        for i in range(half):
            s = sinusoids((parts * formula(i, half)).float(), 2 * half)
            angle = 2 * math.pi * parts
            errors += [s[:, i] - angle.sin(), s[:, half + i] - angle.cos()]
    return largest(errors)


def turned(shift: Any) -> tuple[tuple[Any, Any], tuple[Any, Any]]:
    """The matrix that turns the pair (sin, cos) by the angle ``shift``, clockwise from 12 o'clock."""
    import sympy

    return (sympy.cos(shift), sympy.sin(shift)), (-sympy.sin(shift), sympy.cos(shift))


@equation(
    "5.5",
    r"(\sin\omega(t+k), \cos\omega(t+k))^\top = R(\omega k)\,(\sin\omega t, \cos\omega t)^\top",
    "algebra (sympy)",
    0.0,
)
def shift_is_rotation(formula: Formula = turned) -> float:
    """The matrix for k steps, applied to the pair at t, must give the pair at t + k."""
    import sympy

    t, k, omega = sympy.symbols("t k omega", positive=True)
    pair = sympy.Matrix([sympy.sin(omega * t), sympy.cos(omega * t)])
    later = sympy.Matrix([sympy.sin(omega * (t + k)), sympy.cos(omega * (t + k))])
    return symbolic(*(sympy.expand_trig(e) for e in sympy.Matrix(formula(omega * k)) * pair - later))


def sum_of_cosines(difference: Tensor, frequency: Tensor) -> Tensor:
    """sum over i of cos(frequency_i difference), the shape of ``difference``."""
    return (difference[..., None] * frequency).cos().sum(-1)


@equation(
    "5.6",
    r"s(t) \cdot s(u) = \sum_{i=0}^{h-1} \cos\omega_i (t-u)",
    "brute force",
    5e-3,
)
def similarity_of_times(formula: Formula = sum_of_cosines) -> float:
    """Against the dot products of the package's sinusoids for many pairs of times."""
    t, errors = torch.arange(0, 1000, 37), []
    for half in (4, 12, 64):
        s = sinusoids(t, 2 * half).double()
        frequency = 10_000.0 ** (-torch.arange(half, dtype=torch.float64) / (half - 1))
        difference = (t[:, None] - t[None, :]).double()
        errors.append(formula(difference, frequency) - s @ s.T)
    return largest(errors)


# What is made of them


def embed(embedding: TimeEmbedding, t: Tensor) -> Tensor:
    """The package's time embedding."""
    return embedding(t)


@equation(
    "5.7",
    r"\tau(t) = W_2\,\mathrm{swish}\big(W_1 s(t) + b_1\big) + b_2, \quad \mathrm{swish}(z) = \frac{z}{1 + e^{-z}}",
    "number by number",
    1e-4,
)
@torch.no_grad()
def two_layers(formula: Formula = embed) -> float:
    """Against sums and products of Python's numbers."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        embedding = TimeEmbedding(32)
    times, right = torch.tensor([0, 3, 999]), []
    W1, b1, W2, b2 = (p.tolist() for p in (*embedding.lin1.parameters(), *embedding.lin2.parameters()))
    for s in embedding.sinusoids(times).tolist():
        z = [sum(w * v for w, v in zip(row, s, strict=True)) + b for row, b in zip(W1, b1, strict=True)]
        act = [value / (1 + math.exp(-value)) for value in z]
        right.append([sum(w * v for w, v in zip(row, act, strict=True)) + b for row, b in zip(W2, b2, strict=True)])
    return largest([formula(embedding, times) - torch.tensor(right)])
