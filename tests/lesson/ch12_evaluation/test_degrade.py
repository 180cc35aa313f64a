"""Images made worse in a known way."""

import numpy as np
import pytest
import scipy.ndimage
import torch

from ddpm_lesson import load_images
from ddpm_lesson.evaluate import closeness, distance_of_features, frechet_distance, judge, load_classifier, moments
from ddpm_lesson.lesson.ch12_evaluation.degrade import degraded, gaussian_twin

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def digits():
    """Training and test images of scikit-learn's digits."""
    return load_images("digits")[:], load_images("digits", "test")[:]


def test_gaussian_twin_has_mean_and_covariance_but_is_no_copy(digits):
    train, test = digits
    twin = gaussian_twin(train, torch.Generator().manual_seed(0))
    for mine, real in zip(moments(twin.flatten(1)), moments(train.flatten(1)), strict=True):
        torch.testing.assert_close(mine, real, atol=1e-5, rtol=1e-5)
    near = closeness(twin, train, test)
    assert near.least > near.least_held_out
    assert distance_of_features(train.flatten(1), twin.flatten(1)) == pytest.approx(0, abs=1e-3)


@pytest.mark.parametrize("kind", ["noise", "blur", "missing classes", "few distinct"])
def test_degradation_grows_from_nothing_and_keeps_the_number_of_images(digits, kind):
    train, labels = digits[0], load_images("digits").labels
    worse = [degraded(train, labels, kind, amount, torch.Generator().manual_seed(0)) for amount in (0.0, 0.5, 1.0)]
    assert torch.equal(worse[0], train)
    assert all(images.shape == train.shape for images in worse)
    assert all(float(images.abs().max()) <= 1 + 1e-6 for images in worse)
    some, much = (frechet_distance("classifier", train, images, train).value for images in worse[1:])
    assert 1 < some < much


def test_blur_is_that_of_scipy(digits):
    images = digits[1][:5]
    blurred = degraded(images, torch.zeros(5), "blur", 0.5)
    expected = scipy.ndimage.gaussian_filter1d(images.numpy(), 1.0, axis=-1, mode="nearest", radius=3)
    expected = scipy.ndimage.gaussian_filter1d(expected, 1.0, axis=-2, mode="nearest", radius=3)
    np.testing.assert_allclose(blurred, expected, atol=1e-5)


def test_missing_classes_and_few_images_are_what_they_say(digits):
    train, labels = digits[0], load_images("digits").labels
    one = degraded(train, labels, "missing classes", 1)
    assert judge(load_classifier("digits", "cpu"), one).counts[0] > 1480
    assert len(degraded(train, labels, "few distinct", 2 / 3).unique(dim=0)) == 15


def test_degradations_that_make_no_sense_are_refused(digits):
    with pytest.raises(ValueError, match=r"kind must be one of noise, blur.*got 'rust'"):
        degraded(*digits, "rust", 0.5)
    with pytest.raises(ValueError, match=r"amount must lie in \[0, 1\]; got 2"):
        degraded(*digits, "noise", 2)
