"""Nearest training images, held against brute force."""

import numpy as np
import pytest
import torch

from ddpm_lesson.evaluate import (
    closeness,
    nearest_neighbours,
)

pytestmark = pytest.mark.usefixtures("one_thread")


def test_neighbours_are_those_of_brute_force(digits):
    train, test = digits
    found = nearest_neighbours(test[:40], train, batch_size=7)
    distances = np.sqrt(((test[:40, None].numpy() - train[None].numpy()) ** 2).mean((2, 3, 4)))
    np.testing.assert_allclose(found.distance, distances.min(1), rtol=1e-5)
    assert (found.index.numpy() == distances.argmin(1)).all()


def test_a_copy_is_found_at_distance_zero(digits):
    train, _ = digits
    found = nearest_neighbours(train[[7, 1203]], train)
    assert found.index.tolist() == [7, 1203]
    assert found.distance.tolist() == [0, 0]


def test_closeness_tells_copies_from_new_images(digits):
    train, test = digits
    assert closeness(train[:100], train, test).copies == 1
    assert closeness(test, train, test).copies == pytest.approx(0.01, abs=0.005)


@pytest.mark.parametrize(
    ("images", "words"),
    [
        (torch.zeros(0, 1, 8, 8), "images must hold at least one image"),
        (torch.zeros(2, 1, 4, 4), r"shape of the training images, \(1, 8, 8\); got \(1, 4, 4\)"),
    ],
)
def test_neighbours_that_make_no_sense_are_refused(digits, images, words):
    with pytest.raises(ValueError, match=words):
        nearest_neighbours(images, digits[0])
