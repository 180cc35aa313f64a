"""Mixing on an arc, and between two images."""

import math

import pytest
import torch

from ddpm_lesson.diffusion import DenoiseDiffusion
from ddpm_lesson.sample import interpolate_steps, slerp
from ddpm_lesson.schedule import NoiseSchedule


def test_ends_are_the_two_tensors():
    a, b = torch.randn(2, 5, 3, 4)
    torch.testing.assert_close(slerp(a, b, 0.0), a)
    torch.testing.assert_close(slerp(a, b, 1.0), b)


def on_circle(degrees):
    angle = math.radians(degrees)
    return torch.tensor([[math.cos(angle), math.sin(angle)]], dtype=torch.float64)


@pytest.mark.parametrize("weight", [0.1, 0.5, 0.8])
@pytest.mark.parametrize("degrees", [0.1, 1, 10, 29, 90, 179])
def test_angle_grows_evenly_on_the_circle(weight, degrees):
    """At a tenth of a degree a straight line is 1e-7 away from the arc, rounding less than 1e-12."""
    found = slerp(on_circle(0), on_circle(degrees), weight)
    torch.testing.assert_close(found, on_circle(weight * degrees), rtol=0, atol=1e-10)


def test_length_stays_between_tensors_of_one_length():
    a, b = torch.randn(2, 6, 10).double()
    b *= (a.norm(dim=1) / b.norm(dim=1))[:, None]
    torch.testing.assert_close(slerp(a, b, 0.3).norm(dim=1), a.norm(dim=1))


def test_every_element_may_have_a_weight_of_its_own():
    a, b = torch.randn(2, 3, 1, 4, 4)
    weights = torch.tensor([0.0, 0.4, 1.0])
    together = slerp(a, b, weights)
    for i, weight in enumerate(weights.tolist()):
        torch.testing.assert_close(together[i : i + 1], slerp(a[i : i + 1], b[i : i + 1], weight))


def test_parallel_tensors_are_mixed_on_the_straight_line():
    a = torch.randn(2, 5)
    torch.testing.assert_close(slerp(a, 3 * a, 0.5), 2 * a)
    torch.testing.assert_close(slerp(a, a, 0.2), a)


def test_shapes_that_differ_are_refused():
    with pytest.raises(ValueError, match=r"b must have the shape of the batch, \(2, 5\); got \(2, 4\)"):
        slerp(torch.zeros(2, 5), torch.zeros(2, 4), 0.5)
    with pytest.raises(ValueError, match=r"weight must be a number or \(2,\), one an element; got \(3,\)"):
        slerp(torch.zeros(2, 5), torch.zeros(2, 5), torch.zeros(3))


# Between images


@pytest.fixture
def model(zero):
    return DenoiseDiffusion(zero, schedule=NoiseSchedule.linear(50, 1e-3, 0.2), clip_x0=False)


@pytest.fixture
def images():
    return torch.rand(2, 1, 4, 4) * 2 - 1


@pytest.mark.parametrize("mix", ["linear", "spherical"])
def test_starts_at_the_mix_of_two_noised_images(model, images, rng, mix):
    weights = torch.tensor([0.0, 0.5, 1.0])
    step = next(interpolate_steps(model, tuple(images), 20, weights, rng(1), mix=mix))
    noised = model.q_sample(images, torch.full((2,), 20), torch.randn(images.shape, generator=rng(1)))
    assert step.t == 20
    torch.testing.assert_close(step.xt[[0, 2]], noised)
    middle = noised.mean(0) if mix == "linear" else slerp(noised[:1], noised[1:], 0.5)[0]
    torch.testing.assert_close(step.xt[1], middle)


def test_weights_0_and_1_give_back_the_images_after_hardly_any_noise(wavy, images, rng):
    model = DenoiseDiffusion(wavy, clip_x0=False)
    *_, end = interpolate_steps(model, tuple(images), 0, torch.tensor([0.0, 1.0]), rng(1))
    assert (end.x0_hat - images).abs().max() < 0.1


def test_nothing_but_the_weight_differs(wavy, images, rng):
    """The way back draws no noise: equal weights give equal images."""
    model = DenoiseDiffusion(wavy, schedule=NoiseSchedule.linear(50, 1e-3, 0.2))
    *_, end = interpolate_steps(model, tuple(images), 30, torch.tensor([0.3, 0.3]), rng(1))
    assert end.x0_hat[0].equal(end.x0_hat[1])


@pytest.mark.parametrize(("t", "asked"), [(49, 20), (9, 10), (0, 1)])
def test_takes_as_many_steps_as_there_are_times(model, images, t, asked):
    assert len(list(interpolate_steps(model, tuple(images), t, torch.tensor([0.5]), n_steps=20))) == asked


def test_unknown_mix_is_refused(model, images):
    with pytest.raises(ValueError, match="mix must be one of linear, spherical; got 'cubic'"):
        interpolate_steps(model, tuple(images), 5, torch.tensor([0.5]), mix="cubic")


@pytest.mark.parametrize("t", [-1, 50])
def test_time_out_of_range_is_refused(model, images, t):
    with pytest.raises(ValueError, match=r"t must lie in 0 \.\. 49"):
        interpolate_steps(model, tuple(images), t, torch.tensor([0.5]))
