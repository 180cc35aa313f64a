"""The exercises and the build of notebook 15 agree with the package; right answers pass in other forms."""

import inspect

import pytest
import torch

from ddpm_lesson import DenoiseDiffusion, NoiseSchedule
from ddpm_lesson.flow import FlowMatching, flow_steps
from ddpm_lesson.lesson.ch15_beyond_ddpm import builds
from ddpm_lesson.lesson.ch15_beyond_ddpm import exercises as ex
from ddpm_lesson.lesson.kit.mixture import TWO_BUMPS, ExactNoise
from ddpm_lesson.sample import final_samples, guided, heun_steps

SCHEDULE = NoiseSchedule.linear(50, 1e-3, 0.2).to(torch.float64)


def noise(seed, *shape):
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_image_by_score_is_the_posterior_mean():
    x = noise(0, 7)
    score = -TWO_BUMPS.exact_eps(x, 0.4) / 0.6**0.5
    torch.testing.assert_close(ex.image_by_score(x, score, 0.4), TWO_BUMPS.exact_x0(x, 0.4))


def test_a_step_of_heun_is_the_packages():
    model = DenoiseDiffusion(ExactNoise(TWO_BUMPS, SCHEDULE), schedule=SCHEDULE, clip_x0=False)
    first, second, *_ = heun_steps(model, (6, 1), 5, start=noise(1, 6, 1))
    a, a_prev = (float(SCHEDULE.alpha_bar[s.t]) for s in (first, second))
    r, r_prev = ((1 / bar - 1) ** 0.5 for bar in (a, a_prev))

    def slope(y, r):
        bar = 1 / (1 + r * r)
        return TWO_BUMPS.exact_eps(bar**0.5 * y, bar)

    y_prev = ex.heun_step(first.xt / a**0.5, r, r_prev, slope)
    torch.testing.assert_close(a_prev**0.5 * y_prev, second.xt)


@pytest.mark.parametrize("t", [0, 20, 49])
def test_image_and_noise_are_those_of_a_network_that_learned_v(t):
    xt, v, at = noise(7, 4, 3), noise(8, 4, 3), torch.full((4,), t)
    model = DenoiseDiffusion(torch.nn.Identity(), schedule=SCHEDULE, clip_x0=False, prediction="v")
    model.eps_model.forward = lambda xt, t: v
    x0_hat, eps_hat = ex.image_and_noise(xt, v, float(SCHEDULE.alpha_bar[t]))
    torch.testing.assert_close(x0_hat, model.denoise(xt, at))
    torch.testing.assert_close(eps_hat, model.predict_eps(xt, at, x0_hat))


@pytest.mark.parametrize("kind", ["eps", "v"])
def test_min_snr_factors_make_an_error_of_the_image_weigh_snr_but_at_most_gamma(kind):
    t, xt, answer, x0 = torch.arange(50), noise(9, 50, 1), noise(10, 50, 1), noise(11, 50, 1)
    model = DenoiseDiffusion(torch.nn.Identity(), schedule=SCHEDULE, clip_x0=False, prediction=kind)
    model.eps_model.forward = lambda xt, t: answer
    a = SCHEDULE.alpha_bar[:, None]
    target = model.target(x0, (xt - a.sqrt() * x0) / (1 - a).sqrt(), t)
    factor = dict(zip(("eps", "v"), ex.min_snr_factors(SCHEDULE.alpha_bar, 5.0), strict=True))[kind]
    weighed = factor * ((answer - target) ** 2).flatten()
    torch.testing.assert_close(weighed, SCHEDULE.snr.clamp(max=5) * ((model.denoise(xt, t) - x0) ** 2).flatten())


class Labelled(torch.nn.Module):
    n_classes = 3

    def forward(self, xt, t, labels):
        return torch.sin(xt + labels[:, None])


BUILT = "            return without + scale * (velocity_model(x, times, labels) - without)\n"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (", dtype=x.dtype", ""),
        ("torch.full((len(x),), 1000 * t, dtype=x.dtype)", "1000 * t * torch.ones(len(x))"),
        ("for i in range(n_steps, 0, -1):", "x = x.float()\n    for i in range(n_steps, 0, -1):"),
    ],
)
def test_the_build_takes_a_sampler_that_works_in_float32(old, new):
    assert builds.build_flow_sample(edited(old, new)).passed


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("torch.full((len(x),), 1000 * t, dtype=x.dtype)", "torch.full_like(x.flatten(), 1000 * t)", "must be (3,)"),
        ("torch.full_like(labels, null)", "torch.full_like(labels, 2)", "with null = 0"),
        ("torch.full_like(labels, null)", "torch.full((5,), null)", "must be (3,)"),
        (BUILT, BUILT.replace("return", "velocity_model(x, times, labels)\n            return"), "10 are enough"),
        ("dt = 1 / n_steps", "dt = 1 / n_steps\n    velocity_model.eval()", "another mode"),
    ],
)
def test_the_build_sees_what_one_batch_on_a_line_hides(old, new, words):
    result = builds.build_flow_sample(edited(old, new))
    assert not result.passed
    assert words in result.message


def edited(old, new):
    """The solution of the build with an edit."""
    source = inspect.getsource(builds.flow_sample)
    assert source.count(old) == 1
    exec(source.replace(old, new), namespace := {"torch": torch})
    return namespace["flow_sample"]


def test_guidance_with_w_is_the_packages_with_scale_w_plus_one():
    x, t, labels = noise(2, 4, 3), torch.zeros(4, dtype=torch.int64), torch.tensor([0, 2, 1, 0])
    ours = ex.guided_noise(torch.sin(x + 3), torch.sin(x + labels[:, None]), 1.5)
    theirs = guided(DenoiseDiffusion(Labelled(), schedule=SCHEDULE), labels, 2.5).eps_model(x, t)
    torch.testing.assert_close(ours, theirs)


def test_the_built_sampler_is_the_packages():
    class Velocity(torch.nn.Module):
        def forward(self, xt, t, labels):
            return torch.sin(2 * xt + t[:, None] / 1000) + labels[:, None]

    start, labels = noise(3, 5, 2), torch.tensor([0, 1, 1, 0, 0])
    ours = builds.flow_sample(Velocity(), start, 6, labels, 2, 1.0)
    steps = flow_steps(FlowMatching(Velocity()), start.shape, 6, solver="heun", start=start, class_labels=labels)
    torch.testing.assert_close(ours, final_samples(steps))


@pytest.mark.parametrize(
    ("exercise", "answer"),
    [
        (ex.check_image_by_score, lambda xt, score, a: xt / a**0.5 + score * (1 - a) / a**0.5),
        (
            ex.check_image_and_noise,
            lambda xt, v, a: (a**0.5 * xt - (1 - a) ** 0.5 * v, (1 - a) ** 0.5 * xt + a**0.5 * v),
        ),
        (ex.check_min_snr_factors, lambda a, g: ((g * (1 - a) / a).clamp(max=1), torch.minimum(a, g * (1 - a)))),
        (ex.check_guided_noise, lambda null, label, w: label + w * (label - null)),
        (ex.check_guided_noise, lambda null, label, w: torch.lerp(null, label, 1 + w)),
        (ex.check_heun_step, lambda y, r, q, f: y + (q - r) / 2 * (f(y, r) + f(y + (q - r) * f(y, r), q))),
    ],
)
def test_right_answer_is_accepted_in_other_forms(exercise, answer):
    assert exercise(answer).passed
