"""The exercises of notebook 11: solutions agree with the package, and right answers pass in other forms."""

import numpy as np
import pytest
import torch

from ddpm_lesson import DenoiseDiffusion, NoiseSchedule
from ddpm_lesson.lesson.ch11_sampling import exercises as ex
from ddpm_lesson.lesson.ch11_sampling.exercises import chain, ddim, inpaint
from ddpm_lesson.sample import ddim_step, inpaint_step, spaced_times

SCHEDULE = NoiseSchedule.linear(50, 1e-3, 0.2).to(torch.float64)


def noise(seed, *shape):
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("t", [0, 1, 20, 49])
def test_clipped_step_is_the_packages(t):
    xt, eps = 2 * noise(0, 4, 1, 3, 3), noise(1, 4, 1, 3, 3)
    model = DenoiseDiffusion(lambda x, times: eps, schedule=SCHEDULE)
    expected = model.p_sample(xt, torch.full((4,), t), generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(chain.clipped_step(xt, eps, t, SCHEDULE.beta, noise(2, 4, 1, 3, 3)), expected)


def test_spaced_variances_are_the_packages():
    times = spaced_times(50, 7)[::-1]
    torch.testing.assert_close(chain.spaced_variances(SCHEDULE.alpha_bar, times), SCHEDULE.spaced(times).beta_tilde)


@pytest.mark.parametrize("eta", [0.0, 0.4, 1.0])
def test_ddim_step_is_the_packages(eta):
    xt, eps, t = noise(0, 5, 2), noise(1, 5, 2), torch.full((5,), 14)
    model = DenoiseDiffusion(lambda x, times: eps, schedule=SCHEDULE)
    bars = float(SCHEDULE.alpha_bar[14]), float(SCHEDULE.alpha_bar[9])
    x0_hat = model.denoise(xt, t)
    assert (x0_hat.abs() == 1).any()
    expected = ddim_step(x0_hat, model.predict_eps(xt, t, x0_hat), *bars, eta, torch.Generator().manual_seed(2))
    torch.testing.assert_close(ddim.ddim_step(xt, eps, *bars, eta, noise(2, 5, 2)), expected)


@pytest.mark.parametrize("t", [0, 1, 20])
def test_inpaint_step_is_the_packages(t):
    xt, known, times = noise(0, 4, 6), noise(1, 4, 6), torch.full((4,), t)
    mask = noise(3, 4, 6) > 0
    model = DenoiseDiffusion(lambda x, times: 0.3 * x, schedule=SCHEDULE)
    x0_hat = model.denoise(xt, times)
    expected = inpaint_step(model, known, mask, xt, times, x0_hat, torch.Generator().manual_seed(2))
    generator = torch.Generator().manual_seed(2)
    x_prev = model.p_sample(xt, times, x0_hat=x0_hat, generator=generator)
    eps = torch.randn(4, 6, dtype=torch.float64, generator=generator)
    torch.testing.assert_close(inpaint.inpaint_step(known, mask, x_prev, t, SCHEDULE.alpha_bar, eps), expected)


# Other right answers


def clipped_with_if(xt, eps, t, beta, z):
    alpha_bar = torch.cumprod(1 - beta, 0)
    x0 = torch.clip((xt - torch.sqrt(1 - alpha_bar[t]) * eps) / torch.sqrt(alpha_bar[t]), -1, 1)
    if t == 0:
        return x0
    prev = alpha_bar[t - 1]
    mean = (prev.sqrt() * beta[t] * x0 + (1 - beta[t]).sqrt() * (1 - prev) * xt) / (1 - alpha_bar[t])
    return mean + beta[t] ** 0.5 * z


def variances_in_a_loop(alpha_bar, times):
    before, variances = 1.0, []
    for t in times:
        variances.append((1 - float(alpha_bar[t]) / before) * (1 - before) / (1 - float(alpha_bar[t])))
        before = float(alpha_bar[t])
    return variances


def ddim_by_euler(xt, eps, alpha_bar, alpha_bar_prev, eta, z):
    sigma = eta * np.sqrt((1 - alpha_bar_prev) / (1 - alpha_bar) * (1 - alpha_bar / alpha_bar_prev))
    x0 = np.clip((xt - np.sqrt(1 - alpha_bar) * eps) / np.sqrt(alpha_bar), -1, 1)
    eps = (xt - np.sqrt(alpha_bar) * x0) / np.sqrt(1 - alpha_bar)
    return np.sqrt(alpha_bar_prev) * x0 + np.sqrt(1 - alpha_bar_prev - sigma**2) * eps + sigma * z


def paste_in_place(known, mask, x_prev, t, alpha_bar, eps):
    part = known if t == 0 else alpha_bar[t - 1] ** 0.5 * known + (1 - alpha_bar[t - 1]) ** 0.5 * eps
    pasted = x_prev.clone()
    pasted[mask] = part[mask]
    return pasted


def paste_by_multiplying(known, mask, x_prev, t, alpha_bar, eps):
    part = known if t == 0 else alpha_bar[t - 1] ** 0.5 * known + (1 - alpha_bar[t - 1]) ** 0.5 * eps
    return mask * part + ~mask * x_prev


@pytest.mark.parametrize(
    ("exercise", "answer"),
    [
        (ex.check_clipped_step, clipped_with_if),
        (ex.check_spaced_variances, variances_in_a_loop),
        (ex.check_ddim_step, ddim_by_euler),
        (ex.check_inpaint_step, paste_in_place),
        (ex.check_inpaint_step, paste_by_multiplying),
    ],
)
def test_right_answer_is_accepted_in_other_forms(exercise, answer):
    assert exercise(answer).passed
