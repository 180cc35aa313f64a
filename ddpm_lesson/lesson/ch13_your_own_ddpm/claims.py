"""What notebook 13 states, found anew; the sentences stand in the notebook word for word."""

import functools

import torch

from ddpm_lesson.data import load_images
from ddpm_lesson.lesson.ch13_your_own_ddpm.board import Board
from ddpm_lesson.lesson.ch13_your_own_ddpm.exercises import deviations
from ddpm_lesson.lesson.ch13_your_own_ddpm.experiments import (
    STANDARD,
    OwnDdpm,
    package_run,
    package_samples,
    readings,
)
from ddpm_lesson.lesson.kit.claim import ClaimBook

BOOK = ClaimBook(13)
claim = BOOK.claim


def fresh(seed: int) -> OwnDdpm:
    """The lesson's pieces, untrained."""
    return OwnDdpm(Board(), (1, 8, 8), STANDARD, seed)


@claim("About 1, often a little more. A fresh network of this kind says little", low=0.8, high=1.6, seeds=range(12))
def loss_before_training(seed: int) -> float:
    """On the test digits, with noise of its own."""
    return fresh(seed).loss(load_images("digits", "test")[:], seed)


@claim("come out within a quarter of yours", low=0.75, high=1.25, slow=True)
def package_over_own(seed: int) -> float:
    """The package's distance over that of the lesson's pieces: 500 drawings each, by DDIM in 20 steps."""
    digits, test = load_images("digits"), load_images("digits", "test")
    own, real = fresh(seed), torch.cat([digits[:], test[:]])
    list(own.train(digits[:], seed))
    mine, _ = own.measure(own.draw(500, seed=seed), real)
    package, _ = own.measure(package_samples(package_run(digits, STANDARD, seed), 500, digits.shape, seed), real)
    return package / mine


@functools.cache
def read(hasty: bool, first: int, n: int) -> dict[str, torch.Tensor]:
    """The readings of ``n`` runs from the seed ``first`` on, of the lesson's pieces or with ten times the rate."""
    source = Board().rows["fit"].source
    board = Board().force("fit", source.replace("2e-3", "2e-2")) if hasty else Board()
    return readings(board, load_images("digits"), load_images("digits", "test")[:], range(first, first + n))


@claim("the loss of a hasty run lies less than two deviations from theirs", low=-2, high=2, slow=True)
def loss_of_a_hasty_run(seed: int) -> float:
    """In deviations of five healthy runs."""
    return float(deviations(read(False, 0, 5)["loss"], read(True, seed, 1)["loss"][0]))


@claim("and its distance more than four above", low=4, slow=True)
def distance_of_a_hasty_run(seed: int) -> float:
    """In deviations of five healthy runs."""
    return float(deviations(read(False, 0, 5)["distance"], read(True, seed, 1)["distance"][0]))
