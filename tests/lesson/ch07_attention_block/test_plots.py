"""Drawings of notebook 07 show what they are given."""

import numpy as np
import pytest
import torch

from ddpm_lesson.lesson.ch07_attention_block.experiments import without_norm
from ddpm_lesson.lesson.ch07_attention_block.plots import (
    attention_picture,
    cost_picture,
    eyes_picture,
    heat,
    looks_picture,
    matrices_picture,
    reach_picture,
)
from ddpm_lesson.unet import AttentionBlock


def test_the_drawing_of_the_block_is_made_from_the_live_module():
    two, four = (attention_picture(AttentionBlock(32, heads, n_groups=8), 5, 6) for heads in (2, 4))
    assert "x of shape 32×5×6" in two.alt
    assert "q, k, v of shape 2×30×16" in two.alt
    assert "q, k, v of shape 4×30×8" in four.alt
    assert two.png != four.png


def test_a_missing_norm_is_seen():
    block = AttentionBlock(16, n_groups=4)
    whole, bare = attention_picture(block, 4, 4), attention_picture(without_norm(block), 4, 4)
    assert "is normalised" in whole.alt
    assert "is not normalised" in bare.alt
    assert whole.png != bare.png


def test_reach_counts_what_is_seen():
    field = torch.zeros(5, 5)
    field[1:4, 1:4] = 2.0
    shown = reach_picture({"near": field, "far": torch.ones(5, 5)}, 2, 2)
    assert "near: 9 of 25; far: 25 of 25" in shown.alt


def test_every_number_of_a_matrix_is_in_the_words():
    shown = matrices_picture({"q": torch.tensor([[1.0, -0.25], [0.5, 3.0]])}, ["a", "b"])
    assert "q: 1.00 -0.25, 0.50 3.00" in shown.alt


def test_signs_stand_between_matrices():
    matrices = {"q": torch.eye(2), "v": torch.ones(2, 1)}
    plain, signed = matrices_picture(matrices, ["a", "b"]), matrices_picture(matrices, ["a", "b"], ["·"])
    assert plain.png != signed.png
    assert plain.alt == signed.alt


def test_the_largest_weight_is_brightest():
    pixels = np.asarray(heat(torch.tensor([[0.1, 0.2], [0.6, 0.1]]), 20)).astype(int).sum(-1)
    assert pixels[15, 5] == pixels.max() > pixels[5, 15] > pixels[5, 5]


def test_maps_are_told_by_their_spread():
    one = torch.zeros(4, 4)
    one[1, 2] = 1
    shown = looks_picture({"sharp": [one], "even": [torch.full((4, 4), 1 / 16)]}, ["t = 3"], (0, 0))
    assert "t = 3" in shown.alt
    assert "sharp 1.0; even 16.0" in shown.alt


@pytest.mark.parametrize("images", [(), (torch.zeros(1, 8, 8),)])
def test_the_query_is_marked_in_every_picture(images):
    maps = {"block": [torch.full((4, 4), 1 / 16)]}
    here, there = (looks_picture(maps, ["x"], cell, images).image() for cell in ((0, 0), (3, 3)))
    assert here.size == there.size
    assert here.tobytes() != there.tobytes()


def test_costs_are_told_for_the_largest_image():
    names = ("by hand", "PyTorch's own")
    shown = cost_picture((8, 16), dict.fromkeys(names, (0.001, 0.002)), dict.fromkeys(names, (2**20, 3 * 2**20)))
    assert "by hand: 2 ms and 3 MiB; PyTorch's own: 2 ms and 3 MiB" in shown.alt


def test_eyes_are_told_with_their_share():
    shown = eyes_picture({"some": torch.zeros(6, 3, 4, 16)}, {"some": 0.5})
    assert "some: 50%" in shown.alt
