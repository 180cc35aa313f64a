"""Notebook 09's panels: the X-ray of a U-Net, and the maps of its levels."""

import re

import pytest
import torch

from ddpm_lesson import DenoiseDiffusion, UNet
from ddpm_lesson.lesson.ch09_unet import panels
from ddpm_lesson.lesson.ch09_unet.experiments import randomised
from ddpm_lesson.lesson.ch09_unet.panels import ATTENTION, MULTIPLIERS, SIZES, workable
from ddpm_lesson.lesson.kit.probe import fresh_noise
from tests.lesson.shown import shown

X0 = torch.rand(3, 1, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1


@pytest.fixture(scope="module")
def diffusion():
    return random_model()


def random_model():
    return DenoiseDiffusion(randomised(UNet(1, 8, (1, 2, 4), (False, False, True), 1, n_groups=4)), 1000)


@pytest.fixture
def xray():
    return panels.show_xray()


@pytest.fixture
def levels(diffusion):
    return panels.show_levels(diffusion, X0)


PANELS = {"show_xray": panels.show_xray, "show_levels": lambda: panels.show_levels(random_model(), X0)}


def test_xray_starts_with_the_papers_network(xray):
    _, alt = shown(xray)
    assert "35,746,307 parameters" in alt
    assert "6.22 billion multiply-adds" in alt
    assert "attention on 16×16 and in the middle" in alt


def test_parameters_do_not_depend_on_the_size_of_the_image(xray):
    xray.controls["image_size"].value = 64
    _, alt = shown(xray)
    assert "35,746,307 parameters" in alt
    assert "6.22 billion" not in alt


@pytest.mark.parametrize("ch_mults", MULTIPLIERS.values(), ids=str)
@pytest.mark.parametrize("attention", ATTENTION)
def test_whatever_is_asked_for_works(ch_mults, attention):
    for n_channels in (32, 48, 256):
        for image_size in SIZES:
            settings, side, note = workable(n_channels, ch_mults, attention, 1, image_size)
            assert n_channels % settings["n_groups"] == 0
            assert side % 2 ** (len(ch_mults) - 1) == 0
            assert side >= image_size
            assert (settings["n_groups"] == 32 and side == image_size) or "Shown instead" in note


def test_settings_that_cannot_work_show_the_nearest_and_say_so(xray):
    xray.controls["n_channels"].value = 48
    _, alt = shown(xray)
    assert alt.startswith("32 groups do not divide a width of 48. Shown instead: 16 groups. A U-Net of 4 levels")
    xray.controls["n_channels"].value = 128
    xray.controls["image_size"].value = 28
    _, alt = shown(xray)
    assert alt.startswith("Sides must be divisible by 8; got 28. Shown instead: 32. A U-Net of 4 levels")
    xray.controls["image_size"].value = 32
    assert shown(xray)[1].startswith("A U-Net of 4 levels")


def test_attention_where_no_map_has_that_size_is_said(xray):
    xray.controls["ch_mults"].value = (1, 2, 4)
    xray.controls["image_size"].value = 256
    _, alt = shown(xray)
    assert alt.startswith("No level has maps of 16×16: only the middle has attention.")
    assert "attention on no level and in the middle" in alt


def test_maps_show_the_channels_that_vary_most(levels, diffusion):
    _, alt = shown(levels)
    assert re.findall(r"(down|middle|up) (\d+)×", alt) == [
        ("down", "16"), ("down", "8"), ("down", "4"), ("middle", "4"), ("up", "4"), ("up", "8"), ("up", "16"),
    ]  # fmt: skip
    assert all(len(set(found.split(", "))) == 3 for found in re.findall(r"channels \[(.*?)\]", alt))


def test_error_in_words_is_that_of_the_guess(levels, diffusion):
    levels.controls["t"].value = 777
    levels.controls["image"].value = 2
    eps = fresh_noise(X0)
    t = torch.full((3,), 777)
    with torch.no_grad():
        guess = diffusion.eval().eps_model(diffusion.q_sample(X0, t, eps), t)
    assert f"image 2, mean squared error of the noise {float((guess - eps)[2].square().mean()):.2g}" in shown(levels)[1]


def test_static_picture_shows_an_early_and_a_late_time(levels):
    assert re.findall(r"at t = (\d+)", levels.static.alt) == ["50", "900"]
