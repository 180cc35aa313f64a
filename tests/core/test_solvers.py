"""Heun and DPM-Solver++(2M): against diffusers, against theory, and against a path that is known exactly."""

import math

import pytest
import torch
from torch import nn

from ddpm_lesson.diffusion import DenoiseDiffusion
from ddpm_lesson.lesson.kit.mixture import TWO_BUMPS, ExactNoise
from ddpm_lesson.sample import ddim_steps, dpm_steps, final_samples, heun_steps
from ddpm_lesson.schedule import NoiseSchedule

T = 50
SHAPE = (3, 2, 4, 4)
OPTIONS = {"beta_start": 1e-3, "beta_end": 0.2}

solvers = pytest.mark.parametrize("steps", [heun_steps, dpm_steps], ids=lambda f: f.__name__)
clipping = pytest.mark.parametrize("clip", [True, False], ids=["clip", "no clip"])
old_numpy = pytest.mark.filterwarnings("ignore:__array__ implementation")  # in diffusers, of a tensor as an array
predictions = pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
OURS = {"epsilon": "eps", "v_prediction": "v", "sample": "x0"}


def make(network, **options):
    return DenoiseDiffusion(network, schedule=NoiseSchedule.linear(T, **OPTIONS).to(torch.float64), **options)


def in_float64(scheduler, n_steps):
    """A scheduler of diffusers whose sigmas are not rounded to float32."""
    scheduler.set_timesteps(n_steps)
    alpha_bar = (1 - torch.linspace(1e-3, 0.2, T, dtype=torch.float64)).cumprod(0)
    sigmas = (1 / alpha_bar - 1).sqrt()[scheduler.timesteps.unique().flip(0).long()]
    if isinstance(scheduler.sigmas, torch.Tensor) and len(scheduler.sigmas) == 2 * n_steps:
        sigmas = torch.cat((sigmas[:1], sigmas[1:].repeat_interleave(2)))
    scheduler.sigmas = torch.cat((sigmas, sigmas.new_zeros(1)))
    return scheduler


def assert_close(ours, theirs, tolerance=1e-8):
    torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance)


# Against diffusers


@old_numpy
@predictions
@pytest.mark.parametrize("n_steps", [2, 5, 10, 16, 25])  # 16 does not divide T
def test_dpm_trajectory_equals_diffusers(wavy, diffusers, rng, n_steps, prediction):
    options = {"prediction_type": prediction, "timestep_spacing": "trailing", "final_sigmas_type": "zero"}
    scheduler = in_float64(diffusers.DPMSolverMultistepScheduler(T, **OPTIONS, **options), n_steps)
    model = make(wavy, clip_x0=False, prediction=OURS[prediction])
    ours = dpm_steps(model, SHAPE, n_steps, rng(1))
    xt = torch.randn(SHAPE, generator=rng(1), dtype=torch.float64)
    for t in scheduler.timesteps.tolist():
        step = next(ours)
        assert step.t == t
        assert_close(step.xt, xt, tolerance=1e-4)  # diffusers goes through float32, and steps add up their rounding
        xt = scheduler.step(wavy(xt, torch.full((3,), t)), t, xt).prev_sample.double()
    assert_close(step.x0_hat, xt, tolerance=1e-4)
    assert next(ours, None) is None


@old_numpy
@clipping
@predictions
@pytest.mark.parametrize("n_steps", [2, 5, 10, 16, 25])
def test_heun_trajectory_equals_diffusers(wavy, diffusers, rng, n_steps, prediction, clip):
    options = {"prediction_type": prediction, "timestep_spacing": "trailing", "clip_sample": clip}
    scheduler = in_float64(diffusers.HeunDiscreteScheduler(T, **OPTIONS, **options), n_steps)
    model = make(wavy, clip_x0=clip, prediction=OURS[prediction])
    ours = heun_steps(model, SHAPE, n_steps, rng(1))
    y = torch.randn(SHAPE, generator=rng(1), dtype=torch.float64) * (1 + scheduler.sigmas[0] ** 2).sqrt()
    for i, t in enumerate(scheduler.timesteps):
        xt = scheduler.scale_model_input(y, t)
        if i % 2 == 0:
            step = next(ours)
            assert step.t == int(t)
            assert_close(step.xt, xt, tolerance=1e-6)
        y = scheduler.step(wavy(xt, torch.full((3,), int(t))), t, y).prev_sample
    assert_close(step.x0_hat, y, tolerance=1e-6)
    assert next(ours, None) is None


# Against theory


def exact_model(n_steps=1024):
    schedule = NoiseSchedule.linear(n_steps, 1e-4 * 1000 / n_steps, 0.02 * 1000 / n_steps).to(torch.float64)
    return DenoiseDiffusion(ExactNoise(TWO_BUMPS, schedule), schedule=schedule, clip_x0=False)


def error(steps, n_steps, model, u):
    """How far a quarter of the way from the end: along the exact path every point keeps its quantile."""
    alpha_bar = model.alpha_bar.tolist()
    start = TWO_BUMPS.noised(alpha_bar[-1]).quantile(u)
    end = TWO_BUMPS.noised(alpha_bar[len(alpha_bar) // 4 - 1]).quantile(u)
    states = steps(model, (len(u), 1), n_steps, start=start[:, None])
    xt = next(state.xt for state in states if state.t == len(alpha_bar) // 4 - 1)
    return float((xt.flatten() - end).square().mean().sqrt())


@pytest.mark.parametrize(("steps", "order"), [(ddim_steps, 1), (heun_steps, 2), (dpm_steps, 2)])
def test_order_of_convergence_is_that_of_theory(steps, order):
    """Twice the steps, an error 2^order times smaller; what is left to the next order shrinks with the step itself."""
    model, u = exact_model(2048), torch.linspace(0.01, 0.99, 49, dtype=torch.float64)
    coarse, fine = (error(steps, n, model, u) for n in (128, 256))
    assert math.log2(coarse / fine) == pytest.approx(order, abs=0.1)


@solvers
def test_second_order_beats_ddim_on_the_oracle(steps):
    """At equal evaluations of the network, from 32 on."""
    model, u = exact_model(), torch.linspace(0.01, 0.99, 49, dtype=torch.float64)
    n_steps = 16 if steps is heun_steps else 32
    assert error(steps, n_steps, model, u) < error(ddim_steps, 32, model, u)


@pytest.mark.parametrize(("steps", "asked"), [(heun_steps, 19), (dpm_steps, 10)])
def test_the_network_is_asked_as_often_as_stated(steps, asked):
    model, times = exact_model(100), []
    model.eps_model.register_forward_hook(lambda module, given, eps: times.append(given[1]))
    final_samples(steps(model, (2, 1), 10))
    assert len(times) == asked


@solvers
def test_a_straight_path_is_followed_exactly(steps):
    """Data in one point: eps is the same all along the path, and every step of any length is right."""
    point = NoiseSchedule.linear(T, **OPTIONS).to(torch.float64)

    class Point(nn.Module):
        def forward(self, xt, t):
            alpha_bar = point.alpha_bar[t].view(-1, 1)
            return (xt - alpha_bar.sqrt() * 0.3) / (1 - alpha_bar).sqrt()

    states = list(steps(make(Point(), clip_x0=False), (5, 1), 4, torch.Generator().manual_seed(0)))
    for state in states:
        assert_close(state.x0_hat, torch.full((5, 1), 0.3, dtype=torch.float64))


# Shared with the other samplers


@solvers
def test_times_states_and_start_are_those_of_ddim(wavy, rng, steps):
    start = torch.randn(SHAPE, dtype=torch.float64)
    ours, theirs = (list(s(make(wavy), SHAPE, 7, start=start, t_start=39)) for s in (steps, ddim_steps))
    assert [state.t for state in ours] == [state.t for state in theirs]
    assert ours[0].xt is start
    first = next(steps(make(wavy), SHAPE, 7, rng(3)))
    assert first.xt.equal(next(ddim_steps(make(wavy), SHAPE, 7, generator=rng(3))).xt)
    for state in ours:
        assert_close(state.x0_hat, make(wavy).denoise(state.xt, torch.full((3,), state.t)))


@solvers
def test_dropout_and_gradients_are_off_and_the_mode_stays(steps):
    class Watched(nn.Linear):
        def forward(self, xt, t):
            seen.append((self.training, torch.is_grad_enabled()))
            return super().forward(xt)

    seen = []
    model = make(Watched(2, 2, dtype=torch.float64))
    final_samples(steps(model, (4, 2), 5))
    assert set(seen) == {(False, False)}
    assert model.training
    assert model.eps_model.training


# Bad input


@solvers
def test_one_step_is_too_few(wavy, steps):
    with pytest.raises(ValueError, match=r"n_steps must be at least 2 for a solver of second order.*; got 1"):
        steps(make(wavy), SHAPE, 1)


@solvers
@pytest.mark.parametrize("n_steps", [0, T + 1, 2.5, True])
def test_wrong_number_of_steps_is_refused(wavy, steps, n_steps):
    with pytest.raises(ValueError, match=rf"n_steps must be a whole number in 1 .. {T}.*got {n_steps!r}"):
        steps(make(wavy), SHAPE, n_steps)


@solvers
def test_start_of_another_shape_is_refused(wavy, steps):
    with pytest.raises(ValueError, match=r"start must have the shape asked for, \(3, 2, 4, 4\)"):
        steps(make(wavy), SHAPE, 5, start=torch.randn(3, 2, 4, 5))
