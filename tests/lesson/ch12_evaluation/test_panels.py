"""Notebook 12's panels: the decoder's bytes, the ledger of bits, rate and distortion, and the Frechet distance."""

import re
from functools import cache

import numpy as np
import pytest
import scipy.stats
import torch

from ddpm_lesson import DenoiseDiffusion, load_images
from ddpm_lesson.data import ImageDataset
from ddpm_lesson.evaluate import distance_of_features, extractor, features_of
from ddpm_lesson.lesson.ch12_evaluation import panels
from ddpm_lesson.lesson.ch12_evaluation.degrade import degraded
from tests.lesson.networks import Listening
from tests.lesson.shown import shown

L_T = 1e-5


@cache
def digits():
    """All of scikit-learn's digits in random order."""
    parts = [load_images("digits", split) for split in ("train", "test")]
    order = torch.randperm(1797, generator=torch.Generator().manual_seed(0))
    images, labels = (torch.cat([getattr(p, name) for p in parts])[order] for name in ("images", "labels"))
    return ImageDataset(images, labels)


FALLING = 2.0 / torch.arange(1, 1001, dtype=torch.float64)  # the terms of an imaginary model


def rate_distortion(network):
    rate, rmse = torch.linspace(3, 0, 1000), torch.linspace(1, 90, 1000)
    return panels.show_rate_distortion(DenoiseDiffusion(network), digits()[:8], rate, rmse)


PANELS = {
    "show_decoder": panels.show_decoder,
    "show_bits_ledger": lambda: panels.show_bits_ledger({"one": (FALLING, L_T), "other": (0.5 * FALLING, L_T)}),
    "show_rate_distortion": lambda: rate_distortion(Listening()),
    "show_frechet": lambda: panels.show_frechet(digits()),
}


def test_cost_of_a_byte_is_that_of_scipy():
    panel = panels.show_decoder()
    normal = scipy.stats.norm(0.2, 0.05)
    x0 = 170 / 127.5 - 1
    for name, value in {"mean": 0.2, "std": 0.05, "byte": 170}.items():
        panel.controls[name].value = value
    p = normal.cdf(x0 + 1 / 255) - normal.cdf(x0 - 1 / 255)
    assert f"byte 170 has probability {p:.2g} and costs {-np.log2(p):.2f} bits" in shown(panel)[1]


def test_the_last_byte_gets_all_that_lies_beyond():
    panel = panels.show_decoder()
    for name, value in {"mean": 1.2, "std": 0.05, "byte": 255}.items():
        panel.controls[name].value = value
    assert "byte 255 has probability 1 and costs 0.00 bits" in shown(panel)[1]


def test_a_byte_that_is_as_good_as_impossible_is_told_so():
    panel = panels.show_decoder()
    panel.controls["std"].value = 1e-3
    panel.controls["byte"].value = 0
    assert "costs more than 1000 bits" in shown(panel)[1]


def test_bits_add_up_from_the_end():
    panel = PANELS["show_bits_ledger"]()
    panel.controls["t"].value = 100
    rest, whole = float(FALLING[100:].sum()), float(FALLING.sum())
    text = f"steps from the end down to t = 100 cost {rest:.2f} of {whole:.2f} bits/dim"
    assert text in shown(panel)[1]
    panel.controls["t"].value = 0
    assert f"cost {whole:.2f} of {whole:.2f}" in shown(panel)[1]


def test_images_of_a_rate_are_guessed_once():
    network = Listening()
    panel = rate_distortion(network)
    asked = len(network.asked)
    panel.controls["t"].value = 300
    panel.controls["t"].value = 200
    panel.controls["t"].value = 300
    assert len(network.asked) == asked + 1
    assert re.search(r"after 2\.10 bits/dim the error is 27\.7 of 255", shown(panel)[1])


@pytest.mark.parametrize("features", ["classifier", "pixels", "random"])
def test_distances_in_words_are_those_of_torchmetrics(features):
    panel = PANELS["show_frechet"]()
    for name, value in {"kind": "missing classes", "amount": 1.0, "features": features, "n": 1000}.items():
        panel.controls[name].value = value
    real, pool, labels = digits()[:797], digits()[797:], digits().labels[797:]
    sets = [
        features_of(extractor(features, (1, 8, 8)), x)
        for x in (real, pool, degraded(pool, labels, "missing classes", 1))
    ]
    floor, value = (distance_of_features(sets[0], other) for other in sets[1:])
    found = re.search(r"N = 1000: ([\d.e-]+), real images ([\d.e-]+):", shown(panel)[1]).groups()
    assert [float(number) for number in found] == pytest.approx([value, floor], rel=0.01)


def test_no_degradation_is_the_floor():
    panel = PANELS["show_frechet"]()
    panel.controls["amount"].value = 0.0
    assert shown(panel)[1].endswith("1.0 times the floor")
