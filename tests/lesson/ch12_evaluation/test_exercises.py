"""The exercises of notebook 12 accept right answers in other forms and tell mistakes apart."""

import math

import numpy as np
import pytest
import scipy.linalg
import scipy.stats
import torch

from ddpm_lesson.bound import decoder_log_likelihood
from ddpm_lesson.evaluate import nearest_neighbours
from ddpm_lesson.lesson.ch12_evaluation import exercises as ex


def byte_by_scipy(byte, mean, std):
    edges = np.linspace(-1 - 1 / 255, 1 + 1 / 255, 257)
    edges[[0, -1]] = -np.inf, np.inf
    return np.log(np.diff(scipy.stats.norm(mean, std).cdf(edges))[byte])


def byte_by_the_package(byte, mean, std):
    x0 = torch.tensor(byte / 127.5 - 1, dtype=torch.float64)
    return decoder_log_likelihood(x0, torch.tensor(mean).double(), torch.tensor(std).double() ** 2)


def image_bits_in_one(log_density, shape):
    n = np.prod(shape[1:])
    return np.log2(np.e) * (n * np.log(127.5) - log_density.numpy()) / n


def frechet_by_scipy(mean1, cov1, mean2, cov2):
    root = scipy.linalg.sqrtm(cov1.numpy() @ cov2.numpy()).real
    return float(((mean1 - mean2) ** 2).sum() + (cov1 + cov2).trace() - 2 * np.trace(root))


def frechet_by_eigenvalues(mean1, cov1, mean2, cov2):
    return (mean1 - mean2).norm() ** 2 + (cov1 + cov2).trace() - 2 * torch.linalg.eigvals(cov1 @ cov2).sqrt().real.sum()


def nearest_in_a_loop(image, training_images):
    distances = [math.sqrt(float(((image - x) ** 2).mean())) for x in training_images]
    return distances.index(min(distances)), min(distances)


def nearest_by_the_package(image, training_images):
    found = nearest_neighbours(image[None], training_images)
    return found.index[0], found.distance[0]


@pytest.mark.parametrize(
    ("exercise", "answer"),
    [
        (ex.check_byte_log_likelihood, byte_by_scipy),
        (ex.check_byte_log_likelihood, byte_by_the_package),
        (ex.check_image_bits, image_bits_in_one),
        (ex.check_frechet, frechet_by_scipy),
        (ex.check_frechet, frechet_by_eigenvalues),
        (ex.check_nearest, nearest_in_a_loop),
        (ex.check_nearest, nearest_by_the_package),
    ],
)
def test_right_answer_is_accepted_in_other_forms(exercise, answer):
    assert exercise(answer).passed
