"""Proofs of notebook 05: right formulas hold, and each wrong one that is planted is caught."""

import math

import pytest
import torch
from torch.nn import functional as F

from ddpm_lesson.lesson.ch05_time_embedding import proofs as embedding
from ddpm_lesson.lesson.ch05_time_embedding.experiments import timeless_eps
from ddpm_lesson.lesson.ch05_time_embedding.proofs import prove


def even_average(data, schedule, xt):
    """All times with the same weight, whatever x_t says."""
    return sum(data.exact_eps(xt, float(a)) for a in schedule.alpha_bar) / schedule.n_steps


def likeliest_time(data, schedule, xt):
    """The answer for the one time that explains x_t best."""
    log_q = torch.stack([data.noised(float(a)).log_prob(xt) for a in schedule.alpha_bar])
    answers = torch.stack([data.exact_eps(xt, float(a)) for a in schedule.alpha_bar])
    return answers.gather(0, log_q.argmax(0, keepdim=True))[0]


def hands(denominator=lambda half: half - 1, base=10_000, scale=1.0, join=None):
    """Sinusoids with an error planted."""

    def formula(t, n):
        half = n // 2
        angle = scale * t[:, None] * base ** (-torch.arange(half) / denominator(half))
        sin, cos = angle.sin(), angle.cos()
        return join(sin, cos) if join else torch.cat((sin, cos), dim=1)

    return formula


def transposed(shift):
    (a, b), (c, d) = embedding.turned(shift)
    return (a, c), (b, d)


def halved(difference, frequency):
    return embedding.sum_of_cosines(difference, frequency) / 2


PLANTED = [
    ("5.1", even_average),
    ("5.1", likeliest_time),
    ("5.1", lambda data, schedule, xt: data.exact_eps(xt, float(schedule.alpha_bar.mean()))),
    ("5.2", lambda data, schedule: embedding.floor_and_price(data, schedule) * 1.01),
    ("5.2", lambda data, schedule: embedding.floor_and_price(data, schedule) + 1e-4),
    ("5.2", lambda data, schedule: 2 * embedding.floor_and_price(data, schedule)),
    ("5.3", hands(denominator=lambda half: half)),  # Vaswani's exponent
    ("5.3", hands(join=lambda sin, cos: torch.stack((sin, cos), dim=-1).flatten(1))),  # and their order
    ("5.3", hands(join=lambda sin, cos: torch.cat((cos, sin), dim=1))),
    ("5.3", hands(base=1000)),
    ("5.3", hands(scale=1 / 1000)),
    ("5.4", lambda i, half: 10_000 ** (i / (half - 1))),
    ("5.4", lambda i, half: math.pi * 10_000 ** (i / (half - 1))),
    ("5.4", lambda i, half: 4 * math.pi * 10_000 ** (i / (half - 1))),  # back where it was, but two turns
    ("5.4", lambda i, half: 2 * math.pi * 10_000 ** (i / half)),
    *(("5.4", lambda i, half, n=n: n * embedding.steps_per_turn(i, half)) for n in (9, -7, 1.001)),
    ("5.4", lambda i, half: embedding.steps_per_turn(i, half) + 0.01),
    ("5.5", transposed),  # turns the other way
    ("5.5", lambda shift: embedding.turned(2 * shift)),
    ("5.6", halved),
    ("5.6", lambda difference, frequency: (difference[..., None] * frequency).sin().sum(-1)),
    ("5.6", lambda difference, frequency: (difference[..., None] * frequency**2).cos().sum(-1)),
    ("5.7", lambda e, t: e.lin2(e.lin1(e.sinusoids(t)))),  # no bend
    ("5.7", lambda e, t: e.lin2(F.relu(e.lin1(e.sinusoids(t))))),
    ("5.7", lambda e, t: F.silu(e.lin2(e.lin1(e.sinusoids(t))))),
    ("5.7", lambda e, t: e.lin2(torch.sigmoid(e.lin1(e.sinusoids(t))))),
]


@pytest.mark.parametrize(("number", "formula"), PLANTED, ids=[f"{n}-{i}" for i, (n, _) in enumerate(PLANTED)])
def test_wrong_formula_is_caught(number, formula):
    assert not prove(number, formula=formula).holds


def test_a_price_that_is_left_out_is_caught():
    def floor_only(data, schedule):
        told = [data.exact_eps(embedding.LINE, float(a)) for a in schedule.alpha_bar]
        seen = [data.noised(float(a)).prob(embedding.LINE) for a in schedule.alpha_bar]
        pairs = zip(told, seen, strict=True)
        return sum(1 - float(torch.trapezoid(e**2 * q, embedding.LINE)) for e, q in pairs) / schedule.n_steps

    proof = prove("5.2", formula=floor_only)
    assert not proof.holds
    assert proof.error > 0.01


def test_the_answer_without_t_differs_from_every_answer_with_t():
    schedule = embedding.short_chain().to(torch.float64)
    xt = torch.linspace(-1, 1, 21, dtype=torch.float64)[:, None]
    blind = timeless_eps(embedding.TWO_BUMPS, schedule, xt)
    for alpha_bar in schedule.alpha_bar:
        assert float((blind - embedding.TWO_BUMPS.exact_eps(xt, float(alpha_bar))).abs().max()) > 0.05


@pytest.mark.parametrize("n", [4, 24, 32, 128])
def test_sinusoids_are_those_of_diffusers(diffusers, n):
    from diffusers.models.embeddings import get_timestep_embedding

    t = torch.tensor([0, 1, 77, 500, 999])
    torch.testing.assert_close(embedding.sinusoids(t, n), get_timestep_embedding(t, n), atol=1e-4, rtol=0)
    other = get_timestep_embedding(t, n, downscale_freq_shift=0)
    assert float((embedding.sinusoids(t, n) - other).abs().max()) > 0.1
