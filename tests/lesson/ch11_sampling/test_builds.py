"""The build of notebook 11: slips are answered by the stage whose hint is about them."""

import pytest

from ddpm_lesson.lesson.ch11_sampling.builds import build_sample, sample
from ddpm_lesson.lesson.kit.exercise import edited

SIGMA2 = "eta**2 * (1 - prev) / (1 - a) * (1 - a / prev)"


@pytest.mark.parametrize(
    ("edits", "stage", "words"),
    [
        (("torch.ones_like(a)", "alpha_bar[0]"), 0, "with times = [11, 10, 6, 5, 2, 0] and eta = 0"),
        ((SIGMA2, "eta**2 * (1 - a / prev)"), 2, "the fresh noise has the variance 0.1086; 0.1015 is right"),
        ((SIGMA2, "20 * eta**2 * (1 - a / prev)"), 2, "With eta = 0.6, from t = 11 to 10: NaN"),
        ((SIGMA2, f"{SIGMA2} + (prev == 1) * eta**2 * (1 - a)"), 2, "Before t = 0 alpha_bar is 1"),
        (("generator=generator", "generator=None"), 1, "draw all noise from `generator`"),
    ],
)
def test_a_slip_reaches_the_stage_that_is_about_it(edits, stage, words):
    message = build_sample(edited(sample, *edits)).message
    assert f"{stage} of 4 stages passed" in message
    assert words in message


def takes_the_times_one_by_one(eps_model, x, beta, times, eta, generator):
    left = list(times)
    x0 = sample(eps_model, x, beta, left, eta, generator)
    while times:
        times.pop(0)
    return x0


def overwrites_the_start(eps_model, x, beta, times, eta, generator):
    return x.copy_(sample(eps_model, x, beta, times, eta, generator))


@pytest.mark.parametrize(("careless", "what"), [(takes_the_times_one_by_one, "times"), (overwrites_the_start, "x")])
def test_what_belongs_to_the_caller_stays_as_it_is(careless, what):
    assert f"`sample` changes its argument `{what}` in place" in build_sample(careless).message
