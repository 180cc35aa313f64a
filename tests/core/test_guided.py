"""Classifier-free guidance, against its formula, and against a mixture whose guided score is known."""

import pytest
import torch
from torch import nn

from ddpm_lesson.diffusion import DenoiseDiffusion
from ddpm_lesson.lesson.kit.mixture import ExactLabelled, GaussianMixture
from ddpm_lesson.sample import ddim_steps, ddpm_steps, dpm_steps, final_samples, guided, heun_steps
from ddpm_lesson.schedule import NoiseSchedule
from ddpm_lesson.unet import UNet

T = 50
SHAPE = (4, 1, 8, 8)
LABELS = torch.tensor([2, 0, 1, 1])
SCHEDULE = NoiseSchedule.linear(T, 1e-3, 0.2)


@pytest.fixture
def unet(randomise):
    network = UNet(1, 8, (1, 2), (False, False), 1, n_groups=4, dropout=0.0, n_classes=3)
    return randomise(network).double().eval()


def model(network, **options):
    return DenoiseDiffusion(network, schedule=SCHEDULE.to(torch.float64), **options)


def assert_close(ours, theirs):
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)


@pytest.fixture
def batch():
    return torch.randn(SHAPE, dtype=torch.float64), torch.tensor([0, 49, 20, 7])


@pytest.mark.parametrize("scale", [0, 0.5, 1, 3, 7.5])
def test_guided_noise_is_the_formula(unet, batch, scale):
    """Ho and Salimans 2022, Eq. 6, with w = scale - 1: (1 + w) eps_label - w eps_null."""
    w = scale - 1
    expected = (1 + w) * unet(*batch, LABELS) - w * unet(*batch)
    assert_close(guided(model(unet), LABELS, scale).eps_model(*batch), expected)


def test_scale_one_is_the_conditional_model_and_zero_the_unconditional_one(unet, batch):
    """As in diffusers, where guidance_scale = 1 switches guidance off."""
    assert_close(guided(model(unet), LABELS, 1.0).eps_model(*batch), unet(*batch, LABELS))
    assert_close(guided(model(unet), LABELS, 0.0).eps_model(*batch), unet(*batch))
    assert not torch.allclose(unet(*batch, LABELS), unet(*batch), rtol=1e-3)


@pytest.mark.parametrize("prediction", ["x0", "v"])
def test_guiding_v_or_x0_is_guiding_the_noise(unet, batch, prediction):
    """The estimates of x0 are mixed with the same weights, whichever target they are decoded from."""
    patient = model(unet, prediction=prediction, clip_x0=False)
    null, label = guided(patient, LABELS, 0).denoise(*batch), guided(patient, LABELS, 1).denoise(*batch)
    assert_close(guided(patient, LABELS, 3).denoise(*batch), null + 3 * (label - null))


def test_one_label_serves_a_batch_of_any_size(unet, batch):
    one, many = guided(model(unet), torch.tensor([2]), 3), guided(model(unet), torch.tensor([2, 2, 2, 2]), 3)
    assert_close(one.eps_model(*batch), many.eps_model(*batch))


@pytest.mark.parametrize("steps", [ddpm_steps, ddim_steps, heun_steps, dpm_steps], ids=lambda f: f.__name__)
def test_every_sampler_takes_a_guided_model(unet, rng, steps):
    patient = model(unet, sigma="posterior", clip_x0=False)
    one = final_samples(steps(guided(patient, LABELS, 3), SHAPE, n_steps=5, generator=rng(1)))
    other = final_samples(steps(guided(patient, 2 - LABELS, 3), SHAPE, n_steps=5, generator=rng(1)))
    assert one.shape == SHAPE
    assert one[:2].ne(other[:2]).any()  # images whose labels differ
    assert_close(one[2:], other[2:])


def test_the_settings_of_the_model_are_taken_over_and_the_model_left_alone(unet):
    patient = model(unet, sigma="posterior", clip_x0=False, prediction="v")
    after = guided(patient, LABELS, 3)
    assert (after.sigma, after.clip_x0, after.prediction, after.n_steps) == ("posterior", False, "v", T)
    assert after.beta.equal(patient.beta)
    assert patient.eps_model is unet


# Data whose guided score is known

DATA = GaussianMixture([0.5, 0.5], [-1.0, 1.0], [0.4, 0.4])


@pytest.mark.parametrize("scale", [0, 1, 2, 5])
def test_guided_noise_is_the_slope_of_the_tilted_density(scale):
    """-sqrt(1 - alpha_bar) d/dx log p(x | c)^scale p(x)^(1 - scale) at every time, by automatic differentiation."""
    diffusion = guided(model(ExactLabelled(DATA, SCHEDULE), clip_x0=False), torch.tensor([1]), scale)
    for t in (0, 10, T - 1):
        alpha_bar = SCHEDULE.to(torch.float64).alpha_bar[t].item()
        xt = torch.linspace(-2, 2, 9, dtype=torch.float64, requires_grad=True)
        label, null = GaussianMixture([1.0], DATA.means[1:], DATA.stds[1:]).noised(alpha_bar), DATA.noised(alpha_bar)
        log_p = scale * label.log_prob(xt) + (1 - scale) * null.log_prob(xt)
        (slope,) = torch.autograd.grad(log_p.sum(), xt)
        expected = -((1 - alpha_bar) ** 0.5) * slope
        assert_close(diffusion.eps_model(xt.detach()[:, None], torch.full((9,), t)).flatten(), expected)


# Bad input


@pytest.mark.parametrize("network", [UNet(1, 8, (1,), (False,), 1, n_groups=4), nn.Identity()])
def test_a_network_without_labels_is_refused(network):
    with pytest.raises(ValueError, match=r"diffusion must have a network that takes class_labels.*; got one without"):
        guided(DenoiseDiffusion(network), LABELS, 3)


@pytest.mark.parametrize("labels", [[3], [-1, 0], [0.5], [[1]]])
def test_labels_out_of_range_are_refused(unet, labels):
    """The null label, n_classes, says nothing that could be followed."""
    with pytest.raises(ValueError, match=r"class_labels must be \(B,\) whole numbers in 0 .. 2; got"):
        guided(model(unet), torch.tensor(labels), 3)


@pytest.mark.parametrize("scale", [-0.1, float("nan")])
def test_a_scale_below_its_meaning_is_refused(unet, scale):
    with pytest.raises(ValueError, match=rf"scale must be at least 0.*got {scale}"):
        guided(model(unet), LABELS, scale)


def test_as_many_labels_as_images(unet):
    with pytest.raises(ValueError, match=r"class_labels must be \(1,\) or one for each of the 3 images; got 4"):
        next(ddim_steps(guided(model(unet), LABELS, 3), (3, 1, 8, 8), 5))
