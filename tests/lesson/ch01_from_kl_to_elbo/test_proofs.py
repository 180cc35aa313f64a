"""Every equation of notebook 01 holds, and wrong ones in its place are seen."""

import math

import pytest
import torch

from ddpm_lesson.lesson.ch01_from_kl_to_elbo import proofs as elbo
from ddpm_lesson.lesson.ch01_from_kl_to_elbo.proofs import prove
from ddpm_lesson.lesson.kit.chain import GridChain, log_normal
from ddpm_lesson.lesson.kit.quadrature import (
    BENT,
    LINE,
    STRAIGHT,
    TWO_PEAKS,
    LatentModel,
    both_kl,
    fit_gaussian,
    integral,
    kl,
)

WRONG = {
    "1.1 p and q swapped in the logarithm": {"log_ratio": lambda log_p, log_q: log_q - log_p},
    "1.1 squared difference": {"log_ratio": lambda log_p, log_q: (log_p - log_q) ** 2},
    "1.2 too steep a line": {"below": lambda ratio: 2 * (1 - ratio)},
    "1.2 a line that lies above": {"below": lambda ratio: 1.5 - ratio},
    "1.3 half of the square forgotten": {
        "formula": lambda m1, s1, m2, s2: math.log(s2 / s1) + (s1**2 + (m1 - m2) ** 2) / s2**2 - 0.5
    },
    "1.3 arguments swapped": {"formula": lambda m1, s1, m2, s2: elbo.kl_of_stds(m2, s2, m1, s1)},
    "1.3 in bits": {"formula": lambda *a: elbo.kl_of_stds(*a) / math.log(2)},
    "1.4 variance for standard deviation": {"best": lambda p: (p.mean, p.var)},
    "1.4 the highest peak": {"best": lambda p: (float(p.means[p.weights.argmax()]), math.sqrt(p.var))},
    "1.5 entropy added": {"combine": lambda cross_entropy, entropy: cross_entropy + entropy},
    "1.5 entropy left out": {"combine": lambda cross_entropy, entropy: cross_entropy},
    "1.6 most likely z instead of all z": {"log_density": lambda model, x: float(model.log_joint(x, LINE).max())},
    "1.6 prior left out": {"log_density": lambda model, x: float(integral(model.log_likelihood(x, LINE).exp()).log())},
    "1.6 shifted by 0.003": {"log_density": lambda model, x: model.log_evidence(x) + 0.003},
    "1.6 scaled": {"log_density": lambda model, x: 1.001 * model.log_evidence(x)},
    "1.7 three times": {"lower": lambda w, weight: 3 * (weight * w.log()).sum()},
    "1.7 a little less": {"lower": lambda w, weight: (weight * w.log()).sum() - 0.001},
    "1.7 without the weights": {"lower": lambda w, weight: w.log().mean()},
    "1.7 logarithm and mean exchanged": {"lower": lambda w, weight: (weight * w).sum().log()},
    "1.7 mean of 1 / w": {"lower": lambda w, weight: -(weight / w).sum().log()},
    "1.8 q left out": {"elbo": lambda log_joint, log_q, weight: weight @ log_joint},
    "1.8 q added": {"elbo": lambda log_joint, log_q, weight: weight @ (log_joint + log_q)},
    "1.8 logarithm of the mean": {"elbo": lambda log_joint, log_q, weight: (weight @ (log_joint - log_q).exp()).log()},
    "1.8 half way between ELBO and log p(x)": {
        "elbo": lambda j, q, weight: 0.5 * elbo.expected_log_ratio(j, q, weight) + 0.5 * (weight @ (j - q).exp()).log()
    },
    "1.9 forward instead of reverse KL": {
        "gap": lambda model, x, m, s: float(kl(model.log_posterior(x), log_normal(LINE, m, s**2)))
    },
    "1.9 KL to the prior": {"gap": lambda model, x, m, s: elbo.kl_of_stds(m, s, 0.0, 1.0)},
    "1.10 last step missing": {"combine": lambda log_steps: log_steps[:-1].sum(0)},
    "1.10 mean for sum": {"combine": lambda log_steps: log_steps.mean(0)},
    "1.11 prior left out": {"combine": lambda log_prior, log_steps: log_steps.sum(0)},
    "1.11 a step short": {"combine": lambda log_prior, log_steps: log_prior + log_steps[1:].sum(0)},
    "1.12 KL terms only": {"bound": lambda chain, x0: chain.bound(x0).total - chain.bound(x0).L_0},
    "1.12 the exact value itself": {"bound": lambda chain, x0: chain.nll(x0)},
    "1.12 half way between bound and exact value": {
        "bound": lambda chain, x0: 0.5 * (chain.nll(x0) + chain.direct_bound(x0))
    },
    "1.12 sign": {"bound": lambda chain, x0: -chain.direct_bound(x0)},
    "1.13 no gap": {"gap": lambda chain, x0: 0 * x0},
    "1.13 gap of the end only": {"gap": lambda chain, x0: chain.bound(x0).L_T},
    "1.14 ratio upside down": {"log_step": lambda posterior, now, before: posterior + before - now},
    "1.14 ratio left out": {"log_step": lambda posterior, now, before: posterior},
    "1.15 the first one forgotten": {"left_over": lambda log_q: log_q[-1]},
    "1.15 upside down": {"left_over": lambda log_q: log_q[0] - log_q[-1]},
    "1.16 the source's slip: the sum alone": {"total": lambda bound: bound.L_t[:, 1:].sum(1)},
    "1.16 L_T forgotten": {"total": lambda bound: bound.L_t.sum(1)},
    "1.16 L_0 forgotten": {"total": lambda bound: bound.L_T + bound.L_t[:, 1:].sum(1)},
    "1.16 one step short": {"total": lambda bound: bound.L_T + bound.L_t[:, :-1].sum(1)},
    "1.17 still nats": {"formula": lambda nats, dims: nats / dims},
    "1.17 multiplied": {"formula": lambda nats, dims: nats / dims * math.log(2)},
    "1.17 decimal digits": {"formula": lambda nats, dims: nats / dims / math.log(10)},
}


PLANTED = [(name.split()[0], wrong) for name, wrong in WRONG.items()]


@pytest.mark.parametrize(("number", "wrong"), PLANTED, ids=WRONG)
def test_wrong_formula_is_seen(number, wrong):
    assert not prove(number, **wrong).holds


def test_gap_of_the_model_with_wrong_steps_is_seen_by_the_exact_likelihood():
    """A chain whose likelihood belongs to another model must not add up."""
    other = GridChain(elbo.SCHEDULE, lambda xt, t: (0.6 * xt, torch.tensor(0.3)))
    assert not prove("1.13", gap=lambda chain, x0: other.gap(x0)).holds


def test_forward_divergence_has_one_minimum_and_reverse_has_one_at_each_peak():
    forward = [fit_gaussian(TWO_PEAKS, "forward", start) for start in (-2.0, 2.0)]
    reverse = [fit_gaussian(TWO_PEAKS, "reverse", start) for start in (-2.0, 2.0)]
    assert forward[0] == pytest.approx(forward[1], abs=1e-6)
    assert [mean for mean, _ in reverse] == pytest.approx([-1.2, 0.9], abs=0.01)
    for fit, weight in zip(reverse, TWO_PEAKS.weights, strict=True):
        assert both_kl(TWO_PEAKS, *fit)[1] == pytest.approx(-math.log(weight), abs=1e-3)


def test_unknown_direction_is_refused():
    with pytest.raises(ValueError, match="direction must be 'forward' or 'reverse'; got 'sideways'"):
        fit_gaussian(TWO_PEAKS, "sideways")


def test_straight_model_has_the_closed_form_evidence_and_no_gap_at_its_posterior():
    x, var = 1.2, 1 + STRAIGHT.noise**2
    assert STRAIGHT.log_evidence(x) == pytest.approx(-0.5 * (x**2 / var + math.log(2 * math.pi * var)))
    assert STRAIGHT.gap(x, x / var, math.sqrt(STRAIGHT.noise**2 / var)) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("model", [STRAIGHT, BENT])
def test_elbo_and_gap_add_up_to_the_evidence(model: LatentModel):
    for mean, std in ((-1.0, 0.3), (0.0, 1.0), (2.0, 0.2)):
        assert model.elbo(1.2, mean, std) + model.gap(1.2, mean, std) == pytest.approx(model.log_evidence(1.2))
