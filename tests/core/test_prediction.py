"""What the network returns: eps, x0 or v, against diffusers, Bayes on a mixture, and the other two."""

import math

import pytest
import torch
from torch import nn

from ddpm_lesson.bound import min_snr_weights
from ddpm_lesson.diffusion import DenoiseDiffusion
from ddpm_lesson.lesson.kit.mixture import TWO_BUMPS
from ddpm_lesson.sample import ddim_steps, ddpm_steps, dpm_steps, final_samples, heun_steps
from ddpm_lesson.schedule import NoiseSchedule

T = 50
OPTIONS = {"beta_start": 1e-3, "beta_end": 0.2}
DIFFUSERS_NAME = {"eps": "epsilon", "x0": "sample", "v": "v_prediction"}
SHAPE = (3, 2, 4, 4)

predictions = pytest.mark.parametrize("prediction", DIFFUSERS_NAME)


def schedules():
    linear = NoiseSchedule.linear(T, **OPTIONS)
    return [(prediction, linear) for prediction in DIFFUSERS_NAME] + [
        (prediction, linear.zero_terminal_snr()) for prediction in ("x0", "v")
    ]


def assert_close(ours, theirs, tolerance=1e-5):
    torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance)


class ExactX0(nn.Module):
    """E[x0 | x_t] of the mixture, told as the target that is asked for."""

    def __init__(self, prediction, schedule):
        super().__init__()
        self.prediction = prediction
        self.alpha_bar = schedule.to(torch.float64).alpha_bar.tolist()

    def forward(self, xt, t):
        (t,) = t.unique().tolist()
        alpha_bar = self.alpha_bar[t]
        x0 = TWO_BUMPS.exact_x0(xt, alpha_bar) if alpha_bar else torch.full_like(xt, TWO_BUMPS.mean)
        if self.prediction == "x0":
            return x0
        eps = (xt - math.sqrt(alpha_bar) * x0) / math.sqrt(1 - alpha_bar)
        return eps if self.prediction == "eps" else math.sqrt(alpha_bar) * eps - math.sqrt(1 - alpha_bar) * x0


def exact_model(prediction, schedule):
    schedule = schedule.to(torch.float64)
    return DenoiseDiffusion(ExactX0(prediction, schedule), schedule=schedule, clip_x0=False, prediction=prediction)


# Against diffusers


@predictions
@pytest.mark.parametrize("clip", [True, False], ids=["clip", "no clip"])
@pytest.mark.parametrize("t", [0, 1, 25, T - 1])
def test_reverse_step_equals_diffusers(wavy, diffusers, exact, rng, prediction, clip, t):
    ours = DenoiseDiffusion(
        wavy, schedule=NoiseSchedule.linear(T, **OPTIONS), clip_x0=clip, prediction=prediction, sigma="posterior"
    )
    options = {"prediction_type": DIFFUSERS_NAME[prediction], "clip_sample": clip}
    scheduler = exact(diffusers.DDPMScheduler(T, **OPTIONS, **options))
    xt, times = torch.randn(SHAPE), torch.full((3,), t)
    step = scheduler.step(wavy(xt, times), t, xt, generator=rng(1))
    assert_close(ours.denoise(xt, times), step.pred_original_sample)
    assert_close(ours.p_sample(xt, times, generator=rng(1)), step.prev_sample)


@pytest.mark.parametrize("t", [0, 1, 25, T - 1])
def test_target_v_is_the_velocity_of_diffusers(wavy, diffusers, exact, t):
    ours = DenoiseDiffusion(wavy, schedule=NoiseSchedule.linear(T, **OPTIONS), prediction="v")
    scheduler = exact(diffusers.DDPMScheduler(T, **OPTIONS))
    (x0, eps), times = torch.randn(2, *SHAPE), torch.full((3,), t)
    assert_close(ours.target(x0, eps, times), scheduler.get_velocity(x0, eps, times).float())


def test_zero_terminal_snr_equals_diffusers(diffusers):
    theirs = diffusers.DDPMScheduler(1000, rescale_betas_zero_snr=True)
    ours = NoiseSchedule.linear(1000).zero_terminal_snr()
    torch.testing.assert_close(ours.beta, theirs.betas, rtol=1e-5, atol=1e-6)  # theirs is 1 - alpha, in float32
    torch.testing.assert_close(ours.alpha_bar, theirs.alphas_cumprod, rtol=1e-4, atol=1e-7)
    assert ours.alpha_bar[-1] == 0


@pytest.mark.parametrize("n_steps", [2, 10, T])
def test_ddim_from_pure_noise_equals_diffusers(wavy, diffusers, n_steps):
    """Lin et al. 2023, section 3.3: from the last time on, and with a network that predicts v."""
    schedule = NoiseSchedule.linear(T, **OPTIONS).zero_terminal_snr()
    model = DenoiseDiffusion(wavy, schedule=schedule, prediction="v")
    options = {"prediction_type": "v_prediction", "rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}
    scheduler = diffusers.DDIMScheduler(T, **OPTIONS, **options)
    scheduler.alphas_cumprod = schedule.to(torch.float64).alpha_bar
    scheduler.set_timesteps(n_steps)
    start = xt = torch.randn(SHAPE)
    for t, step in zip(scheduler.timesteps.tolist(), ddim_steps(model, SHAPE, n_steps, start=start), strict=True):
        assert_close(step.xt, xt, tolerance=1e-4)
        xt = scheduler.step(wavy(xt, torch.full((3,), t)), t, xt, use_clipped_model_output=True).prev_sample
    assert_close(step.x0_hat, xt.to(start), tolerance=1e-4)


@pytest.mark.parametrize("prediction", ["eps", "v"])
def test_min_snr_weights_equal_those_of_diffusers(diffusers, prediction):
    """As in train_text_to_image.py of diffusers: snr clipped, over snr or snr + 1."""
    from diffusers.training_utils import compute_snr

    snr = compute_snr(diffusers.DDPMScheduler(1000), torch.arange(1000))
    expected = snr.clamp(max=5.0) / (snr if prediction == "eps" else snr + 1)
    ours = min_snr_weights(NoiseSchedule.linear(1000), prediction)
    torch.testing.assert_close(ours, expected.double(), rtol=2e-3, atol=0)  # 1 - alpha_bar in float32, at t = 0


# The three are one


@pytest.mark.parametrize(("prediction", "schedule"), schedules())
def test_the_right_answer_is_decoded_to_the_data_and_costs_nothing(prediction, schedule):
    (x0, noise), t = torch.randn(2, T, 3, dtype=torch.float64), torch.arange(T)

    class Told(nn.Module):
        def forward(self, xt, t):
            return model.target(x0, noise, t)

    model = DenoiseDiffusion(Told(), schedule=schedule.to(torch.float64), clip_x0=False, prediction=prediction)
    assert model.loss(x0, noise, t) == 0
    torch.testing.assert_close(model.denoise(model.q_sample(x0, t, noise), t), x0, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("steps", [ddim_steps, heun_steps, dpm_steps], ids=lambda f: f.__name__)
def test_samplers_do_not_care_what_the_network_returns(steps):
    start = torch.randn(200, 1, dtype=torch.float64)
    linear = NoiseSchedule.linear(T, **OPTIONS)
    eps, x0, v = (
        final_samples(steps(exact_model(kind, linear), start.shape, 10, start=start)) for kind in DIFFUSERS_NAME
    )
    torch.testing.assert_close(x0, eps, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(v, eps, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("prediction", ["x0", "v"])
@pytest.mark.parametrize("steps", [ddpm_steps, ddim_steps, heun_steps, dpm_steps], ids=lambda f: f.__name__)
def test_from_pure_noise_every_sampler_finds_the_data(prediction, steps, rng):
    """Four standard deviations of the Monte Carlo error of mean and variance, beside what finite steps leave."""
    model = exact_model(prediction, NoiseSchedule.linear(1000).zero_terminal_snr())
    options = {"n_steps": 50, "generator": rng(1)}
    x0 = final_samples(steps(model, (2_000, 1), **options))
    assert x0.mean().item() == pytest.approx(TWO_BUMPS.mean, abs=4 * (TWO_BUMPS.var / 2_000) ** 0.5 + 0.02)
    assert x0.var().item() == pytest.approx(TWO_BUMPS.var, rel=4 * (2 / 2_000) ** 0.5 + 0.05)


def test_a_shorter_chain_keeps_what_the_network_returns(wavy):
    assert DenoiseDiffusion(wavy, prediction="v").spaced([9, 999]).prediction == "v"


@predictions
def test_min_snr_counts_the_error_of_x0_the_same_for_every_target(zero, prediction):
    """Errors of the target, weighted, against errors of x0, weighted by min(snr, 5), worked out on the spot."""
    schedule = NoiseSchedule.linear(T, **OPTIONS).to(torch.float64)
    model = DenoiseDiffusion(zero, schedule=schedule, clip_x0=False, prediction=prediction)
    (x0, noise), t = torch.randn(2, T, 3, dtype=torch.float64), torch.arange(T)
    x0_hat = model.denoise(model.q_sample(x0, t, noise), t)
    snr = schedule.alpha_bar / (1 - schedule.alpha_bar)
    expected = (snr.clamp(max=5)[:, None] * (x0_hat - x0) ** 2).mean()
    weights = min_snr_weights(schedule, prediction)
    assert model.loss(x0, noise, t, weights=weights).item() == pytest.approx(expected.item(), rel=1e-10)


@pytest.mark.parametrize("prediction", ["x0", "v"])
def test_min_snr_weighs_nothing_where_nothing_is_left_of_the_image(prediction):
    weights = min_snr_weights(NoiseSchedule.linear(T).zero_terminal_snr(), prediction)
    assert weights.isfinite().all()
    assert weights[-1] == 0
    assert (weights[:-1] > 0).all()


# Labels on their way to the network


class Labelled(nn.Module):
    def forward(self, xt, t, class_labels=None):
        self.class_labels = class_labels
        return xt


@predictions
def test_labels_reach_the_network_if_given(prediction):
    model, labels = DenoiseDiffusion(Labelled(), T, prediction=prediction), torch.tensor([4, 2])
    model.loss(torch.randn(2, 3))
    assert model.eps_model.class_labels is None
    model.loss(torch.randn(2, 3), class_labels=labels)
    assert model.eps_model.class_labels is labels


# Schedules that end in pure noise


@pytest.mark.parametrize("make", [NoiseSchedule.linear, NoiseSchedule.cosine, NoiseSchedule.quadratic])
def test_zero_terminal_snr_keeps_the_first_step_and_loses_the_last_of_the_signal(make):
    schedule = make(100).to(torch.float64)
    bent = schedule.zero_terminal_snr()
    assert bent.beta.dtype == torch.float64
    assert bent.alpha_bar[0].item() == pytest.approx(schedule.alpha_bar[0].item(), rel=1e-12)
    assert bent.alpha_bar[-1] == bent.snr[-1] == 0
    assert (bent.alpha_bar.diff() < 0).all()
    assert NoiseSchedule.from_settings(bent.settings).beta.equal(bent.beta.float())


def test_zero_terminal_snr_needs_two_steps():
    with pytest.raises(ValueError, match=r"n_steps must be at least 2 .*; got 1"):
        NoiseSchedule.linear(1).zero_terminal_snr()


def test_only_the_last_step_may_leave_nothing():
    assert NoiseSchedule.from_betas([0.1, 1.0]).alpha_bar.tolist() == [pytest.approx(0.9), 0]
    with pytest.raises(ValueError, match=r"betas must lie strictly between 0 and 1.*; got 1.0 at t = 0"):
        NoiseSchedule.from_betas([1.0])


def test_noise_of_a_schedule_that_ends_in_noise_cannot_be_predicted(wavy):
    schedule = NoiseSchedule.linear(T).zero_terminal_snr()
    with pytest.raises(ValueError, match="prediction must be 'v' or 'x0' on a schedule that ends with alpha_bar = 0"):
        DenoiseDiffusion(wavy, schedule=schedule)
    with pytest.raises(ValueError, match="prediction must be 'v' or 'x0'"):
        min_snr_weights(schedule)


def test_unknown_prediction_is_refused(wavy):
    with pytest.raises(ValueError, match="prediction must be one of eps, x0, v; got 'epsilon'"):
        DenoiseDiffusion(wavy, prediction="epsilon")


@pytest.mark.parametrize("gamma", [0, -1, math.nan])
def test_limit_of_min_snr_is_checked_by_its_name(gamma):
    with pytest.raises(ValueError, match=f"gamma must be positive; got {gamma}"):
        min_snr_weights(NoiseSchedule.linear(T), gamma=gamma)


def test_weights_must_be_one_a_time(zero):
    with pytest.raises(ValueError, match=r"weights must be one number a time, \(50,\); got \(3,\)"):
        DenoiseDiffusion(zero, T).loss(torch.randn(2, 3), weights=torch.ones(3))


@predictions
def test_an_answer_of_another_shape_is_refused(prediction):
    class Wide(nn.Module):
        def forward(self, xt, t):
            return torch.cat((xt, xt), dim=1)

    with pytest.raises(ValueError, match=rf"{prediction}_theta must have the shape of the batch, \(2, 3\)"):
        DenoiseDiffusion(Wide(), T, prediction=prediction).loss(torch.randn(2, 3))
