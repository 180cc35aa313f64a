"""Notebook 12's panels: the decoder's bytes, the ledger of bits, rate and distortion, and the Frechet distance."""

import re

import numpy as np
import pytest
import scipy.stats
import torch
from torch import nn

from ddpm_lesson import DenoiseDiffusion, load_images
from ddpm_lesson.data import ImageDataset
from ddpm_lesson.evaluate import distance_of_features, extractor, features_of
from ddpm_lesson.lesson.ch12_evaluation import panels
from ddpm_lesson.lesson.ch12_evaluation.degrade import degraded
from tests.lesson.shown import shown

L_T = 1e-5


class Halving(nn.Module):
    """A network that counts how often it is asked, in evaluation mode."""

    def __init__(self):
        super().__init__()
        self.calls = 0

    def forward(self, xt, t):
        assert not self.training
        self.calls += 1
        return 0.5 * xt


@pytest.fixture(scope="module")
def digits():
    """All of scikit-learn's digits in random order."""
    parts = [load_images("digits", split) for split in ("train", "test")]
    order = torch.randperm(1797, generator=torch.Generator().manual_seed(0))
    images, labels = (torch.cat([getattr(p, name) for p in parts])[order] for name in ("images", "labels"))
    return ImageDataset(images, labels)


@pytest.fixture(scope="module")
def terms():
    """Terms of two imaginary models."""
    falling = 2.0 / torch.arange(1, 1001, dtype=torch.float64)
    return {"one": (falling, L_T), "other": (0.5 * falling, L_T)}


@pytest.fixture
def network():
    return Halving()


@pytest.fixture
def make(digits, terms, network):
    """``make(name)`` is the panel of that name."""
    rate, rmse = torch.linspace(3, 0, 1000), torch.linspace(1, 90, 1000)
    makers = {
        "decoder": panels.show_decoder,
        "bits": lambda: panels.show_bits_ledger(terms),
        "rate": lambda: panels.show_rate_distortion(DenoiseDiffusion(network), digits[:8], rate, rmse),
        "frechet": lambda: panels.show_frechet(digits),
    }
    return lambda name: makers[name]()


CONTROLS = {
    "decoder": {"mean": 0.3, "std": 0.05, "byte": 150},
    "bits": {"model": "other", "scale": "linear", "t": 50},
    "rate": {"t": 300, "seed": 1},
    "frechet": {"kind": "blur", "amount": 0.4, "features": "pixels", "n": 300},
}


@pytest.mark.parametrize(("name", "control"), [(name, control) for name in CONTROLS for control in CONTROLS[name]])
def test_every_control_changes_picture_and_words_but_not_the_size(name, control, make):
    panel = make(name)
    assert set(panel.controls) == set(CONTROLS[name])
    before, before_alt = shown(panel)
    panel.controls[control].value = CONTROLS[name][control]
    after, after_alt = shown(panel)
    assert after.size == before.size
    assert after.tobytes() != before.tobytes()
    assert after_alt != before_alt


def test_cost_of_a_byte_is_that_of_scipy(make):
    panel = make("decoder")
    normal = scipy.stats.norm(0.2, 0.05)
    x0 = 170 / 127.5 - 1
    for name, value in {"mean": 0.2, "std": 0.05, "byte": 170}.items():
        panel.controls[name].value = value
    p = normal.cdf(x0 + 1 / 255) - normal.cdf(x0 - 1 / 255)
    assert f"byte 170 has probability {p:.2g} and costs {-np.log2(p):.2f} bits" in shown(panel)[1]


def test_the_last_byte_gets_all_that_lies_beyond(make):
    panel = make("decoder")
    for name, value in {"mean": 1.2, "std": 0.05, "byte": 255}.items():
        panel.controls[name].value = value
    assert "byte 255 has probability 1 and costs 0.00 bits" in shown(panel)[1]


def test_a_byte_that_is_as_good_as_impossible_is_told_so(make):
    panel = make("decoder")
    panel.controls["std"].value = 1e-3
    panel.controls["byte"].value = 0
    assert "costs more than 1000 bits" in shown(panel)[1]


def test_bits_add_up_from_the_end(make, terms):
    panel = make("bits")
    panel.controls["t"].value = 100
    L_t = terms["one"][0]
    text = f"steps from the end down to t = 100 cost {float(L_t[100:].sum()):.2f} of {float(L_t.sum()):.2f} bits/dim"
    assert text in shown(panel)[1]
    panel.controls["t"].value = 0
    assert f"cost {float(L_t.sum()):.2f} of {float(L_t.sum()):.2f}" in shown(panel)[1]


def test_images_of_a_rate_are_guessed_once(make, network):
    panel = make("rate")
    asked = network.calls
    panel.controls["t"].value = 300
    panel.controls["t"].value = 200
    panel.controls["t"].value = 300
    assert network.calls == asked + 1
    assert re.search(r"after 2\.10 bits/dim the error is 27\.7 of 255", shown(panel)[1])


@pytest.mark.parametrize("features", ["classifier", "pixels", "random"])
def test_distances_in_words_are_those_of_torchmetrics(make, digits, features):
    panel = make("frechet")
    for name, value in {"kind": "missing classes", "amount": 1.0, "features": features, "n": 1000}.items():
        panel.controls[name].value = value
    real, pool, labels = digits[:797], digits[797:], digits.labels[797:]
    sets = [
        features_of(extractor(features, (1, 8, 8)), x)
        for x in (real, pool, degraded(pool, labels, "missing classes", 1))
    ]
    floor, value = (distance_of_features(sets[0], other) for other in sets[1:])
    found = re.search(r"N = 1000: ([\d.e-]+), real images ([\d.e-]+):", shown(panel)[1]).groups()
    assert [float(number) for number in found] == pytest.approx([value, floor], rel=0.01)


def test_no_degradation_is_the_floor(make):
    panel = make("frechet")
    panel.controls["amount"].value = 0.0
    assert shown(panel)[1].endswith("1.0 times the floor")


def test_controls_are_labelled_and_a_question_stands_in_front(make):
    for panel in map(make, CONTROLS):
        assert all(control.description for control in panel.controls.values())
        assert panel.box.children[0].value.endswith("?</b>")
