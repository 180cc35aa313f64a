"""The exercises of notebook 04 agree with the package and accept every right answer."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from ddpm_lesson import DenoiseDiffusion, NoiseSchedule
from ddpm_lesson.bound import loss_weights
from ddpm_lesson.lesson.ch04_noise_prediction.exercises import (
    check_loss_weight,
    check_mean_from_eps,
    check_predict_x0,
    check_reverse_step,
    check_simple_loss,
)


def test_solutions_agree_with_the_package():
    schedule = NoiseSchedule.linear(100)
    diffusion = DenoiseDiffusion(lambda xt, t: 0.3 * xt, schedule=schedule, clip_x0=False)
    xt, eps = torch.randn(2, 6, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    for t in (0, 1, 50, 99):
        times, alpha_bar = torch.full((6,), t), float(schedule.alpha_bar[t])
        x0 = diffusion.predict_x0(xt, times, eps)
        torch.testing.assert_close(check_predict_x0.solution(xt, eps, alpha_bar), x0, atol=1e-4, rtol=1e-4)
        mean, _ = diffusion.q_posterior(x0, xt, times)
        torch.testing.assert_close(check_mean_from_eps.solution(xt, eps, t, schedule.beta), mean, atol=1e-4, rtol=1e-4)
        z = torch.randn(xt.shape, generator=torch.Generator().manual_seed(1))
        x_prev = diffusion.p_sample(xt, times, generator=torch.Generator().manual_seed(1))
        answer = check_reverse_step.solution(xt, 0.3 * xt, t, schedule.beta, z)
        torch.testing.assert_close(answer, x_prev, atol=1e-4, rtol=1e-4)
        weight = check_loss_weight.solution(t, schedule.beta.double())
        torch.testing.assert_close(weight, loss_weights(schedule)[t], atol=0, rtol=1e-5)


def test_every_wrong_mean_of_exercise_2_is_known_in_exercise_5():
    def paper_count(xt, eps, t, beta, z):
        mean = check_mean_from_eps.solution(xt, eps, t, beta)
        return mean + beta[t] ** 0.5 * z if t > 1 else mean

    assert check_reverse_step(paper_count).misconception == "the paper's t"
    names = {mistake.name for mistake in check_reverse_step.known}
    assert {f"mean: {mistake.name}" for mistake in check_mean_from_eps.known} <= names


def test_toy_model_wants_one_time_an_image():
    def reshaped(eps_model, x0, t, eps, alpha_bar):
        return check_simple_loss.solution(lambda xt, t: eps_model(xt, t.view(-1, 1, 1, 1)), x0, t, eps, alpha_bar)

    result = check_simple_loss(reshaped)
    assert not result.passed
    assert "one time an image, shape (4,); got (4, 1, 1, 1)" in result.message


def x0_in_place(xt, eps, alpha_bar):
    return xt.sub(math.sqrt(1 - alpha_bar) * eps).div_(math.sqrt(alpha_bar))


def x0_in_numpy(xt, eps, alpha_bar):
    return xt.double().numpy() / np.sqrt(alpha_bar) - np.sqrt(1 / alpha_bar - 1) * eps.double().numpy()


def mean_through_x0(xt, eps, t, beta):
    alpha_bar = torch.cumprod(1 - beta.double(), 0)
    before = alpha_bar[t - 1] if t else torch.tensor(1.0).double()
    x0 = (xt - (1 - alpha_bar[t]).sqrt() * eps) / alpha_bar[t].sqrt()
    return (before.sqrt() * beta[t] * x0 + (1 - beta[t]).sqrt() * (1 - before) * xt) / (1 - alpha_bar[t])


def weight_in_a_loop(t, beta):
    alpha_bar = math.prod(1 - b for b in beta[: t + 1].tolist())
    b = float(beta[t])
    return b**2 / (2 * b * (1 - b) * (1 - alpha_bar))


def loss_by_torch(eps_model, x0, t, eps, alpha_bar):
    a = alpha_bar[t].reshape(len(t), 1, 1, 1)
    return F.mse_loss(eps, eps_model(a**0.5 * x0 + (1 - a) ** 0.5 * eps, t))


def loss_image_by_image(eps_model, x0, t, eps, alpha_bar):
    losses = []
    for i in range(len(t)):
        a = alpha_bar[t[i]]
        xt = a.sqrt() * x0[i : i + 1] + (1 - a).sqrt() * eps[i : i + 1]
        losses.append(((eps_model(xt, t[i : i + 1]) - eps[i : i + 1]) ** 2).mean())
    return sum(losses) / len(losses)


def step_with_if(xt, eps, t, beta, z):
    mean = mean_through_x0(xt, eps, t, beta)
    if t == 0:
        return mean
    return mean + torch.sqrt(beta[t]) * z


@pytest.mark.parametrize(
    ("exercise", "answer"),
    [
        (check_predict_x0, x0_in_place),
        (check_predict_x0, x0_in_numpy),
        (check_mean_from_eps, mean_through_x0),
        (check_loss_weight, weight_in_a_loop),
        (check_simple_loss, loss_by_torch),
        (check_simple_loss, loss_image_by_image),
        (check_reverse_step, step_with_if),
    ],
)
def test_right_answer_is_accepted_in_other_forms(exercise, answer):
    assert exercise(answer).passed
