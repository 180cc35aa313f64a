"""Notebook 08's panels: windows that grow, checkerboards, and a network without skips."""

import io
import re

import numpy as np
import pytest
import torch
from PIL import Image

from ddpm_lesson import checkpoint, load_images
from ddpm_lesson.lesson.ch08_down_up_middle import panels
from ddpm_lesson.lesson.ch08_down_up_middle.experiments import guess_without, up_blocks
from ddpm_lesson.lesson.ch08_down_up_middle.plots import (
    blocks_picture,
    resampling_picture,
    side_by_side,
    without_skips_picture,
)
from ddpm_lesson.unet import Downsample, UNet, Upsample
from tests.lesson.shown import shown


@pytest.fixture(scope="module")
def diffusion():
    return checkpoint.load("digits")


@pytest.fixture
def fields(diffusion):
    return panels.show_receptive_field(diffusion.eps_model, image_size=48)


@pytest.fixture
def boards():
    return panels.show_checkerboard()


@pytest.fixture
def guesses():
    return without_skips()


def receptive_field():
    panel = panels.show_receptive_field(checkpoint.load("digits").eps_model, image_size=48)
    panel.controls["stage"].value = "down.0"  # the first stage that the whole network sees otherwise
    return panel


def without_skips():
    return panels.show_without_skips(checkpoint.load("digits"), load_images("digits", "test")[:5])


PANELS = {
    "show_receptive_field": receptive_field,
    "show_checkerboard": panels.show_checkerboard,
    "show_without_skips": without_skips,
}


def test_window_in_words_is_that_of_the_recursion(fields):
    for stage, side in (("image_proj", 3), ("down.0", 7), ("down.1", 9), ("down.2", 17), ("middle", 33)):
        fields.controls["stage"].value = stage
        assert f"{stage} sees {side} x {side} pixels, convolutions only; the recursion says {side}" in shown(fields)[1]
    fields.controls["what"].value = "the whole network"
    assert "middle sees at least 48 x 48 pixels" in shown(fields)[1]


def test_static_picture_of_the_windows_shows_the_way_down(fields):
    assert "image_proj 3 x 3, down.0 7 x 7, down.1 9 x 9, down.2 17 x 17, middle 33 x 33" in fields.static.alt


@pytest.mark.parametrize(
    ("kernel", "stride", "counts"), [(3, 2, "1, 2, 4"), (4, 2, "4"), (2, 2, "1"), (5, 2, "4, 6, 9"), (4, 3, "1, 2, 4")]
)
def test_taps_are_even_if_the_stride_divides_the_kernel(boards, kernel, stride, counts):
    boards.controls["kernel"].value = kernel
    boards.controls["stride"].value = stride
    boards.controls["weights"].value = "all ones"
    alt = shown(boards)[1]
    assert f"reached by {counts} taps" in alt
    assert ("unevenness 0.00" in alt) == (kernel % stride == 0)


def test_even_counts_with_random_weights_are_uneven_all_the_same(boards):
    boards.controls["kernel"].value = 4
    for i in range(1, 10):
        boards.controls["weights"].value = f"random {i}"
        assert float(re.search(r"unevenness ([\d.]+)", shown(boards)[1]).group(1)) > 0.05


@pytest.mark.parametrize(("stride", "frequency"), [(2, "0.50"), (3, "0.33"), (4, "0.25")])
def test_pattern_repeats_with_the_stride(boards, stride, frequency):
    boards.controls["kernel"].value = 5
    boards.controls["weights"].value = "all ones"
    boards.controls["stride"].value = stride
    assert f"loudest at {frequency} cycles per pixel" in shown(boards)[1]


def test_static_picture_of_the_checkerboard_answers_the_question_beside_it(boards):
    pattern = r"kernel 4, stride 2, weights (?:all ones|random 1): .*?unevenness ([\d.]+\d)"
    ones, random = re.findall(pattern, boards.static.alt)
    assert float(ones) == 0 < 0.05 < float(random)


def test_repeated_pixels_draw_no_pattern_whatever_the_weights(boards):
    boards.controls["method"].value = "nearest + conv"
    for kernel in range(2, 8):
        boards.controls["kernel"].value = kernel
        assert f"reached by {kernel**2} taps; unevenness 0.00, no frequency but 0" in shown(boards)[1]


def test_losses_in_words_are_those_of_the_network(guesses, diffusion):
    guesses.controls["t"].value = 400
    guesses.controls["which"].value = "all"
    x0 = load_images("digits", "test")[:5]
    whole, cut = (guess_without(diffusion, x0, 400, names).loss for names in ((), up_blocks(diffusion.eps_model)))
    assert f"t = 400, no skips; loss whole {whole:.3f}, without {cut:.3f}" in shown(guesses)[1]


def test_windows_that_the_edge_cuts_off_are_not_given_as_sizes(fields):
    fields.controls["stage"].value = "final"
    assert "final sees at least 48 x 48 pixels, convolutions only; no recursion" in shown(fields)[1]
    assert "final" not in fields.static.alt


@pytest.mark.parametrize("n", [1, 4])
def test_nothing_is_cut_off_at_the_right_edge_of_a_sheet_with_losses(n):
    rows = {name: -torch.ones(n, 1, 8, 8) for name in ("x_0", "without skips")}
    losses = {"with skips": 0.123, "without skips": 0.456}
    sheet = np.asarray(Image.open(io.BytesIO(without_skips_picture(rows, losses, "t = 250, no skip into up.6").png)))
    dark = (sheet.min(-1) < 200).any(0).nonzero()[0]
    assert dark[-1] < sheet.shape[1] - 5


def test_blocks_say_their_channels():
    model = UNet(1, 16, (1, 3), (False, False), 1, n_groups=8)
    alt = blocks_picture(model).alt
    assert "DownBlock (down.2): x with 16 channels, then a residual block 16 → 48" in alt
    assert "no attention; 48 channels go out. MiddleBlock: x with 48 channels" in alt
    assert "skip with 48 channels, then a residual block 96 → 48" in alt


def test_resampling_shows_the_live_modules_connections():
    torch.manual_seed(0)
    modules = {"a": Downsample(2), "b": Downsample(3, "symmetric"), "c": Upsample(2), "d": Upsample(2, "transposed")}
    alt = resampling_picture(modules).alt
    assert "a: taps at the fine pixels [1, 1, 2, 1, 2, 1, 2, 1], coarse pixel 1 is joined to 2..4, centre 3" in alt
    assert "b: taps at the fine pixels [1, 2, 1, 2, 1, 2, 1, 1], coarse pixel 1 is joined to 1..3, centre 2" in alt
    assert "c: taps at the fine pixels [2, 3, 3, 3, 3, 3, 3, 2], coarse pixel 1 is joined to 1..4, centre 2.5" in alt
    assert "d: taps at the fine pixels [1, 2, 2, 2, 2, 2, 2, 1]" in alt


def test_images_side_by_side_have_one_size():
    shown_images = side_by_side({"one": torch.zeros(1, 8, 8), "other": torch.ones(1, 4, 4)}, side=64)
    assert shown_images.width == 2 * 76 + 12
    assert "one (8 x 8, values 0.00 to 0.00), other (4 x 4, values 1.00 to 1.00)" in shown_images.alt
