"""Noise schedules against diffusers, closed forms and the numbers of the paper."""

import json
import math
import re
from contextlib import suppress

import numpy as np
import pytest
import torch
from torch.distributions import Normal, kl_divergence

from ddpm_lesson.schedule import NoiseSchedule

DIFFUSERS_NAME = {
    "linear": "linear",
    "quadratic": "scaled_linear",
    "sigmoid": "sigmoid",
    "cosine": "squaredcos_cap_v2",
}
SERIES = ("beta", "alpha", "alpha_bar", "alpha_bar_prev", "beta_tilde", "snr")

kinds = pytest.mark.parametrize("kind", DIFFUSERS_NAME)
ramps = pytest.mark.parametrize("kind", ["linear", "quadratic", "sigmoid"])


def make(kind, *arguments, **options):
    return getattr(NoiseSchedule, kind)(*arguments, **options)


# Against diffusers


@kinds
@pytest.mark.parametrize("n_steps", [10, 1000])
def test_schedule_equals_diffusers(diffusers, kind, n_steps):
    theirs = diffusers.DDPMScheduler(n_steps, beta_schedule=DIFFUSERS_NAME[kind])
    ours = make(kind, n_steps)
    torch.testing.assert_close(ours.beta, theirs.betas, rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(ours.alpha_bar, theirs.alphas_cumprod, rtol=1e-5, atol=1e-7)


@ramps
def test_other_ends_equal_diffusers(diffusers, kind):
    theirs = diffusers.DDPMScheduler(50, beta_start=0.01, beta_end=0.3, beta_schedule=DIFFUSERS_NAME[kind])
    ours = make(kind, 50, beta_start=0.01, beta_end=0.3)
    torch.testing.assert_close(ours.beta, theirs.betas, rtol=1e-5, atol=1e-7)


# Numbers of the paper


def test_linear_schedule_ends_almost_in_pure_noise():
    alpha_bar = NoiseSchedule.linear(1000).alpha_bar[-1].item()
    assert alpha_bar == pytest.approx(4.0358e-5, rel=1e-4)
    assert alpha_bar == pytest.approx(np.prod(1 - np.linspace(1e-4, 0.02, 1000)), rel=1e-6)


@pytest.mark.parametrize(("mean_square", "bits"), [(0.26, 7.57e-6), (0.93, 2.71e-5)])
def test_end_of_linear_schedule_costs_almost_no_bits(mean_square, bits):
    """L_T: what a value of this size still tells about itself at the last step (Ho et al. 2020, section 4.2)."""
    alpha_bar = NoiseSchedule.linear(1000).to(torch.float64).alpha_bar[-1]
    q = Normal((alpha_bar * mean_square).sqrt(), (1 - alpha_bar).sqrt())
    kl = kl_divergence(q, Normal(alpha_bar.new_tensor(0), alpha_bar.new_tensor(1)))
    assert kl.item() / math.log(2) == pytest.approx(bits, rel=1e-2)


def test_cosine_schedule_follows_its_squared_cosine():
    """Nichol and Dhariwal 2021, Eq. 17, wherever beta is not held below its limit."""
    n_steps, s = 100, 0.008
    f = np.cos((np.arange(n_steps) / n_steps + s) / (1 + s) * np.pi / 2) ** 2
    alpha_bar_prev = NoiseSchedule.cosine(n_steps).to(torch.float64).alpha_bar_prev
    np.testing.assert_allclose(alpha_bar_prev, f / f[0], rtol=1e-12)


def test_cosine_keeps_beta_below_its_limit():
    assert NoiseSchedule.cosine(100, beta_max=0.5).beta.max() == 0.5


# Properties


@kinds
def test_alpha_bar_decreases(kind):
    assert (make(kind, 200).alpha_bar.diff() < 0).all()


@kinds
def test_signal_to_noise_ratio_decreases(kind):
    assert (make(kind, 200).snr.diff() < 0).all()


@kinds
def test_beta_stays_between_zero_and_one(kind):
    beta = make(kind, 1000).beta
    assert (beta > 0).all()
    assert (beta < 1).all()


@ramps
def test_beta_starts_and_ends_where_it_is_told_to(kind):
    beta = make(kind, 30, beta_start=0.001, beta_end=0.1).beta
    slack = 3e-4 if kind == "sigmoid" else 1e-8  # a logistic curve over [-6, 6] stops a little short of its limits
    assert beta[0].item() == pytest.approx(0.001, abs=slack)
    assert beta[-1].item() == pytest.approx(0.1, abs=slack)


@kinds
def test_alpha_bar_prev_is_alpha_bar_one_step_earlier(kind):
    schedule = make(kind, 20)
    assert schedule.alpha_bar_prev[0] == 1
    assert schedule.alpha_bar_prev[1:].equal(schedule.alpha_bar[:-1])


@kinds
def test_posterior_variance_is_below_beta_and_vanishes_at_the_first_step(kind):
    schedule = make(kind, 100)
    assert schedule.beta_tilde[0] == 0
    assert (schedule.beta_tilde[1:] < schedule.beta[1:]).all()


def test_derived_series_follow_from_beta():
    schedule = NoiseSchedule.from_betas([0.1, 0.2, 0.5]).to(torch.float64)
    np.testing.assert_allclose(schedule.alpha, [0.9, 0.8, 0.5])
    np.testing.assert_allclose(schedule.alpha_bar, [0.9, 0.72, 0.36])
    np.testing.assert_allclose(schedule.alpha_bar_prev, [1, 0.9, 0.72])
    np.testing.assert_allclose(schedule.beta_tilde, [0, 0.2 * 0.1 / 0.28, 0.5 * 0.28 / 0.64])
    np.testing.assert_allclose(schedule.snr, [9, 0.72 / 0.28, 0.36 / 0.64])


@kinds
def test_one_step_is_a_schedule(kind):
    schedule = make(kind, 1)
    assert len(schedule) == schedule.n_steps == 1
    assert schedule.alpha_bar_prev.tolist() == [1]


@kinds
@pytest.mark.parametrize("series", SERIES)
def test_series_are_float32_of_one_number_a_step(kind, series):
    values = getattr(make(kind, 7), series)
    assert values.dtype == torch.float32
    assert values.shape == (7,)
    assert values.isfinite().all()


def test_float64_keeps_the_digits_that_were_computed():
    exact = 1 - np.linspace(1e-4, 0.02, 1000)
    schedule = NoiseSchedule.linear(1000).to(torch.float64)
    assert schedule.alpha_bar.dtype == torch.float64
    np.testing.assert_allclose(schedule.alpha_bar, exact.cumprod(), rtol=1e-12)


def test_float32_is_only_a_way_to_store():
    schedule = NoiseSchedule.linear(1000)
    there_and_back = schedule.to(torch.float64).to(torch.float32)
    assert all(getattr(there_and_back, name).equal(getattr(schedule, name)) for name in SERIES)
    assert schedule.alpha_bar.equal(schedule.to(torch.float64).alpha_bar.float())


@pytest.mark.parametrize(
    "schedule",
    [
        NoiseSchedule.linear(12, 1e-3, 0.1),
        NoiseSchedule.quadratic(12),
        NoiseSchedule.sigmoid(12),
        NoiseSchedule.cosine(12, s=0.01, beta_max=0.9),
        NoiseSchedule.from_betas([0.1, 0.25, 0.3]),
    ],
    ids=repr,
)
def test_settings_survive_json(schedule):
    again = NoiseSchedule.from_settings(json.loads(json.dumps(schedule.settings)))
    assert again.settings == schedule.settings
    assert again.to(torch.float64).alpha_bar.equal(schedule.to(torch.float64).alpha_bar)


def test_rebuilding_leaves_the_settings_as_they_are():
    settings = {"kind": "linear", "n_steps": 5}
    NoiseSchedule.from_settings(settings)
    assert settings == {"kind": "linear", "n_steps": 5}


@pytest.mark.parametrize("betas", [[0.1, 0.2], (0.1, 0.2), np.array([0.1, 0.2]), torch.tensor([0.1, 0.2])])
def test_betas_may_come_in_any_sequence(betas):
    assert NoiseSchedule.from_betas(betas).beta.tolist() == pytest.approx([0.1, 0.2])


def test_repr_tells_kind_steps_and_end():
    assert repr(NoiseSchedule.linear(1000)) == (
        "NoiseSchedule(linear, n_steps=1000, alpha_bar at the last step 4.04e-05)"
    )


# Bad input: the message names the argument and the value


@kinds
@pytest.mark.parametrize("n_steps", [0, -1, 2.5, True, "10", None])
def test_wrong_number_of_steps_is_refused(kind, n_steps):
    with pytest.raises(ValueError, match=rf"n_steps.*got {n_steps!r}"):
        make(kind, n_steps)


@ramps
@pytest.mark.parametrize("beta", [0, 1, -0.1, 1.5, math.nan, math.inf])
@pytest.mark.parametrize("name", ["beta_start", "beta_end"])
def test_beta_outside_zero_to_one_is_refused(kind, name, beta):
    with pytest.raises(ValueError, match=rf"{name}.*got {beta}"):
        make(kind, 10, **{name: beta})


@ramps
def test_falling_beta_is_refused(kind):
    with pytest.raises(ValueError, match=r"beta_end.*beta_start.*0\.01.*0\.02"):
        make(kind, 10, beta_start=0.02, beta_end=0.01)


@pytest.mark.parametrize("beta_max", [0, 1, -0.5, 2.0, math.nan])
def test_limit_of_cosine_schedule_is_checked_by_its_name(beta_max):
    with pytest.raises(ValueError, match=rf"beta_max.*got {beta_max}"):
        NoiseSchedule.cosine(10, beta_max=beta_max)


@pytest.mark.parametrize("s", [-0.1, math.nan])
def test_offset_of_cosine_schedule_is_checked_by_its_name(s):
    with pytest.raises(ValueError, match=rf"\bs\b must.*got {s}"):
        NoiseSchedule.cosine(10, s=s)


@pytest.mark.parametrize(
    ("betas", "got"),
    [
        ([], "(0,)"),
        ([[0.1, 0.2]], "(1, 2)"),
        (0.1, "()"),
        ([0.1, 0.0], "0.0 at t = 1"),
        ([1.0, 0.1], "1.0 at t = 0"),
        ([0.1, 0.2, -0.5], "-0.5 at t = 2"),
        ([0.1, 7], "7.0 at t = 1"),
        ([0.1, math.nan], "nan at t = 1"),
    ],
)
def test_betas_that_are_no_schedule_are_refused(betas, got):
    with pytest.raises(ValueError, match=rf"betas.*got {re.escape(got)}"):
        NoiseSchedule.from_betas(betas)


@pytest.mark.parametrize("beta", [1e-9, 1e-20])
def test_tiny_betas_are_refused_or_work(beta):
    """1 - 1e-20 is 1 in float64, where 1 - alpha_bar would be 0 and the posterior variance 0 / 0."""
    with suppress(ValueError):
        schedule = NoiseSchedule.from_betas([beta, beta])
        assert all(getattr(schedule, series).isfinite().all() for series in SERIES)


def test_a_setting_that_a_schedule_does_not_have_is_refused():
    with pytest.raises(ValueError, match="settings of a linear schedule are n_steps, beta_start, beta_end; got nsteps"):
        NoiseSchedule.from_settings({"kind": "linear", "nsteps": 3})


@pytest.mark.parametrize("settings", [{"kind": "cubic"}, {"kind": None}, {}, {"kind": "to"}])
def test_unknown_kind_is_refused(settings):
    with pytest.raises(ValueError, match=rf"schedule must be one of linear.*got {settings.get('kind')!r}"):
        NoiseSchedule.from_settings(settings)
