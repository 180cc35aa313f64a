"""Fewer steps: the shorter chain against diffusers, against the long chain and against DDIM."""

import pytest
import torch

from ddpm_lesson.diffusion import DenoiseDiffusion
from ddpm_lesson.sample import ddim_steps, ddpm_steps, final_samples, spaced_times
from ddpm_lesson.schedule import NoiseSchedule

T = 50
SHAPE = (3, 2, 4, 4)
OPTIONS = {"beta_start": 1e-3, "beta_end": 0.2}
TIMES = [0, 3, 4, 17, 48, 49]

sigmas = pytest.mark.parametrize(("sigma", "variance_type"), [("beta", "fixed_large"), ("posterior", "fixed_small")])


def make(network, **options):
    return DenoiseDiffusion(network, schedule=NoiseSchedule.linear(T, **OPTIONS), **options)


def assert_close(ours, theirs, tolerance=1e-4):
    torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance)


# The schedule


@pytest.mark.parametrize("kind", ["linear", "cosine", "quadratic", "sigmoid"])
def test_alpha_bar_of_the_shorter_chain_is_that_of_the_times_it_visits(kind):
    schedule = getattr(NoiseSchedule, kind)(1000).to(torch.float64)
    times = spaced_times(1000, 37)[::-1]
    torch.testing.assert_close(schedule.spaced(times).alpha_bar, schedule.alpha_bar[times], rtol=1e-10, atol=0)


def test_all_times_give_the_same_schedule_again():
    schedule = NoiseSchedule.linear().to(torch.float64)
    torch.testing.assert_close(schedule.spaced(range(1000)).beta, schedule.beta, rtol=1e-11, atol=0)


def test_beta_of_a_larger_step_is_the_variance_that_the_small_ones_add_up_to():
    """Step by step: what is there shrinks by alpha, and beta comes in addition."""
    schedule = NoiseSchedule.linear(T, **OPTIONS).to(torch.float64)
    spaced = schedule.spaced(TIMES)
    start = 0
    for i, t in enumerate(TIMES):
        variance, left = 0.0, 1.0
        for beta in schedule.beta[start : t + 1].tolist():
            variance, left = (1 - beta) * variance + beta, (1 - beta) * left
        assert float(spaced.beta[i]) == pytest.approx(variance, rel=1e-12)
        assert float(spaced.alpha[i]) == pytest.approx(left, rel=1e-12)
        start = t + 1


def test_order_of_the_times_does_not_matter():
    schedule = NoiseSchedule.linear(T, **OPTIONS)
    assert schedule.spaced(TIMES[::-1]).beta.equal(schedule.spaced(TIMES).beta)


def test_a_spaced_schedule_keeps_its_precision_and_can_be_rebuilt():
    spaced = NoiseSchedule.linear().to(torch.float64).spaced([9, 99, 999])
    assert spaced.beta.dtype == torch.float64
    assert NoiseSchedule.from_settings(spaced.settings).beta.equal(spaced.beta.float())


@pytest.mark.parametrize("times", [[], [1, 1], [-1, 3], [3, T]])
def test_times_that_are_no_chain_are_refused(times):
    with pytest.raises(ValueError, match=rf"times must be different whole numbers in 0 .. {T - 1}; got"):
        NoiseSchedule.linear(T).spaced(times)


# The model


def test_network_is_told_the_times_it_was_trained_with():
    asked = []

    def network(xt, t):
        asked.append(t.tolist())
        return torch.zeros_like(xt)

    class Listening(torch.nn.Module):
        forward = staticmethod(network)

    final_samples(ddpm_steps(make(Listening()), (2, 1), n_steps=5))
    assert asked == [[t, t] for t in (49, 39, 29, 19, 9)]


def test_spaced_model_takes_over_clipping_and_sigma_unless_told_otherwise(wavy):
    model = make(wavy, sigma="posterior", clip_x0=False)
    spaced = model.spaced(TIMES)
    assert not spaced.clip_x0
    assert spaced.sigma == "posterior"
    assert model.spaced(TIMES, sigma="beta").sigma == "beta"


def test_model_itself_is_left_as_it_was(wavy):
    model = make(wavy)
    model.spaced(TIMES)
    assert model.n_steps == T
    assert model.eps_model is wavy


def test_unknown_sigma_is_refused(wavy):
    with pytest.raises(ValueError, match="sigma must be 'beta' or 'posterior'; got 'half'"):
        ddpm_steps(make(wavy), SHAPE, n_steps=5, sigma="half")


# The sampler


@sigmas
@pytest.mark.parametrize("clip", [True, False], ids=["clip", "no clip"])
@pytest.mark.parametrize("n_steps", [1, 2, 10, 16])
def test_few_steps_equal_diffusers(wavy, diffusers, exact, rng, n_steps, clip, sigma, variance_type):
    """diffusers adds noise after the last visited time unless that is 0, so the very last state is not compared."""
    scheduler = diffusers.DDPMScheduler(
        T, **OPTIONS, variance_type=variance_type, clip_sample=clip, timestep_spacing="trailing"
    )
    exact(scheduler).set_timesteps(n_steps)
    noise, xt = rng(1), None
    steps = ddpm_steps(make(wavy, clip_x0=clip), SHAPE, rng(1), n_steps=n_steps, sigma=sigma)
    for t, step in zip(scheduler.timesteps.tolist(), steps, strict=True):
        xt = torch.randn(SHAPE, generator=noise) if xt is None else xt
        assert step.t == t
        assert_close(step.xt, xt)
        xt = scheduler.step(wavy(xt, torch.full((3,), t)), t, xt, generator=noise).prev_sample


@sigmas
def test_any_times_that_end_with_zero_equal_diffusers_to_the_end(wavy, diffusers, exact, rng, sigma, variance_type):
    scheduler = exact(diffusers.DDPMScheduler(T, **OPTIONS, variance_type=variance_type))
    scheduler.set_timesteps(timesteps=TIMES[::-1])
    chain, noise = make(wavy).spaced(TIMES, sigma=sigma), rng(1)
    xt = torch.randn(SHAPE, generator=noise)
    steps = ddpm_steps(chain, SHAPE, rng(1))
    for t, step in zip(TIMES[::-1], steps, strict=True):
        assert_close(step.xt, xt)
        xt = scheduler.step(wavy(xt, torch.full((3,), t)), t, xt, generator=noise).prev_sample
    assert_close(step.x0_hat, xt)


@pytest.mark.parametrize("n_steps", [1, 2, 7, 20])
def test_with_the_posterior_variance_it_is_ddim_with_full_noise(wavy, rng, n_steps):
    model = make(wavy)
    ddpm = ddpm_steps(model, SHAPE, rng(1), n_steps=n_steps, sigma="posterior")
    for one, other in zip(ddpm, ddim_steps(model, SHAPE, n_steps, 1.0, rng(1)), strict=True):
        assert one.t == other.t
        assert_close(one.xt, other.xt)
        assert_close(one.x0_hat, other.x0_hat)


def test_all_steps_asked_for_by_number_are_all_steps(wavy, rng):
    model = make(wavy)
    assert final_samples(ddpm_steps(model, SHAPE, rng(1), n_steps=T)).equal(
        final_samples(ddpm_steps(model, SHAPE, rng(1)))
    )


@pytest.mark.parametrize("n_steps", [0, T + 1, 2.5, True])
def test_wrong_number_of_steps_is_refused(wavy, n_steps):
    with pytest.raises(ValueError, match=rf"n_steps must be a whole number in 1 \.\. {T}.*got {n_steps!r}"):
        ddpm_steps(make(wavy), SHAPE, n_steps=n_steps)


# From the middle


SAMPLERS = {
    "ddpm": lambda model, shape, **options: ddpm_steps(model, shape, **options),
    "ddim": lambda model, shape, **options: ddim_steps(model, shape, 10, **options),
}
samplers = pytest.mark.parametrize("steps", SAMPLERS.values(), ids=SAMPLERS)


@samplers
def test_sampler_begins_where_it_is_told(wavy, steps):
    start = torch.randn(SHAPE)
    states = list(steps(make(wavy), SHAPE, start=start, t_start=29))
    assert states[0].t == 29
    assert states[0].xt is start


@pytest.mark.parametrize("sigma", ["beta", "posterior"])
def test_going_on_from_a_state_is_the_rest_of_the_run(wavy, rng, sigma):
    model, generator = make(wavy, sigma=sigma), rng(1)
    run = ddpm_steps(model, SHAPE, generator)
    for step in run:
        if step.t == 20:
            break
    rest = ddpm_steps(model, SHAPE, rng(7), start=step.xt, t_start=20)
    generator.manual_seed(7)
    next(rest)
    for one, other in zip(run, rest, strict=True):
        assert one.t == other.t
        assert_close(one.xt, other.xt)


@samplers
def test_start_of_another_shape_is_refused(wavy, steps):
    with pytest.raises(ValueError, match=r"start must have the shape asked for, \(3, 2, 4, 4\); got \(3, 2, 4, 5\)"):
        steps(make(wavy), SHAPE, start=torch.randn(3, 2, 4, 5))


@samplers
@pytest.mark.parametrize("t_start", [-1, T, 2.5, True])
def test_start_at_a_time_that_is_none_is_refused(wavy, steps, t_start):
    with pytest.raises(ValueError, match=rf"t_start must be a whole number in 0 \.\. {T - 1}; got {t_start!r}"):
        steps(make(wavy), SHAPE, t_start=t_start)
