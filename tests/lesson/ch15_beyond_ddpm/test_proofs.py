"""The equations of notebook 15: each holds, and wrong ones in their place are found out."""

import pytest
import torch

from ddpm_lesson.lesson.ch15_beyond_ddpm import proofs
from ddpm_lesson.lesson.ch15_beyond_ddpm.proofs import prove
from ddpm_lesson.lesson.kit.mixture import TWO_BUMPS
from ddpm_lesson.lesson.kit.proof import root


def euler(y, r, r_prev, slopes):
    """One step of first order."""
    return y + (r_prev - r) * slopes(y, r)


def midpoint(y, r, r_prev, slopes):
    """Of second order, but another method."""
    return y + (r_prev - r) * slopes(y + (r_prev - r) / 2 * slopes(y, r), (r + r_prev) / 2)


PLANTED = [
    ("15.1", lambda eps, a: eps / root(1 - a)),
    ("15.1", lambda eps, a: -eps * root(1 - a)),
    ("15.2", lambda xt, score, a: (xt - (1 - a) * score) / root(a)),
    ("15.2", lambda xt, score, a: (xt + root(1 - a) * score) / root(a)),
    ("15.3", lambda x, score: -(x / 2 + score)),  # the reverse SDE's drift
    ("15.3", lambda x, score: -(x - score) / 2),
    ("15.4", lambda x, eps, a: -eps),
    ("15.4", lambda x, eps, a: eps / root(a)),
    ("15.5", lambda divergence, d: -(d + divergence) / 2),
    ("15.5", lambda divergence, d: (d + 2 * divergence) / 2),
    ("15.5", lambda divergence, d: (1 + divergence) / 2),  # right on a line only
    ("15.6", euler),
    ("15.6", midpoint),
    ("15.6", lambda y, r, p, slopes: y + (p - r) / 2 * (slopes(y, r) + slopes(y + 1.3 * (p - r) * slopes(y, r), p))),
    ("15.7", lambda xt, x0, a, p: root((1 - p) / (1 - a)) * xt + root(p) * x0 * (1 - root((1 - p) / (1 - a)))),
    ("15.8", lambda x0, eps, a: root(1 - a) * x0 - root(a) * eps),
    ("15.8", lambda x0, eps, a: root(1 - a) * eps - root(a) * x0),
    ("15.8", lambda x0, eps, a: a * eps - (1 - a) * x0),
    ("15.9", lambda snr: proofs.weights(snr) | {"eps": snr + 1}),
    ("15.9", lambda snr: proofs.weights(snr) | {"v": snr}),
    ("15.9", lambda snr: proofs.weights(snr) | {"x0": snr}),
    ("15.10", lambda null, label, s: label + s * (label - null)),  # the paper's w in the place of the scale
    ("15.10", lambda null, label, s: label + s * (null - label)),
    ("15.11", lambda null, up, a, s: null + s * (1 - a) ** 0.5 * up),
    ("15.11", lambda null, up, a, s: null - s * up),  # the slope of a density, not yet in units of noise
    ("15.11", lambda null, up, a, s: null - (s - 1) * (1 - a) ** 0.5 * up),  # that scale belongs to the answer with c
    ("15.12", lambda a, b, s: proofs.guided_stds(a, b, s)[1:] * 2),  # guided samples have that of the tilted density
    ("15.12", lambda a, b, s: proofs.guided_stds(a, b, s)[:1] * 2),
    ("15.13", lambda xt, x0, t: (x0 - xt) / t),  # time the other way
    ("15.13", lambda xt, x0, t: (xt - x0) / (1 - t)),
    ("15.14", lambda noise: noise * TWO_BUMPS.var**0.5 + TWO_BUMPS.mean),
    ("15.14", lambda noise: proofs.same_rank(-noise)),
]


@pytest.mark.parametrize(("number", "wrong"), PLANTED)
def test_a_wrong_formula_is_found_out(number, wrong):
    proof = prove(number, formula=wrong)
    assert not proof.holds
    assert not proof.error <= 5 * proof.tolerance


@pytest.mark.parametrize("number", ["15.1", "15.2", "15.3", "15.5", "15.8", "15.10", "15.11", "15.13"])
def test_a_formula_that_gives_nan_does_not_hold(number):
    assert not prove(number, formula=lambda *_: torch.tensor(torch.nan)).holds
