"""Notebook 06's panels and pictures: what they say is what is so."""

import re

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from ddpm_lesson import DenoiseDiffusion
from ddpm_lesson.lesson.ch06_residual_block import panels
from ddpm_lesson.lesson.ch06_residual_block.experiments import look_inside, shifts
from ddpm_lesson.lesson.ch06_residual_block.plots import flow_picture, residual_picture, swish_picture
from ddpm_lesson.lesson.kit.curves import losses_picture
from ddpm_lesson.unet import ResidualBlock, UNet
from tests.lesson.shown import shown


@pytest.fixture(scope="module")
def diffusion():
    return random_model()


def random_model():
    torch.manual_seed(0)
    model = UNet(1, 8, (1, 2), (False, False), 1, n_groups=2)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.3)
    return DenoiseDiffusion(model, 100)


@pytest.fixture
def maps(diffusion):
    return feature_maps(diffusion)


@pytest.fixture
def norm():
    return PANELS["show_group_norm"]()


def feature_maps(diffusion):
    return panels.show_feature_maps(diffusion, torch.zeros(1, 1, 8, 8), n_maps=4, n_times=12)


PANELS = {
    "show_group_norm": lambda: panels.show_group_norm(torch.randn(8, 6, 6, generator=torch.Generator().manual_seed(0))),
    "show_feature_maps": lambda: feature_maps(random_model()),
}


def change(panel):
    return float(re.search(r"largest change of what comes out is ([\d.]+)", shown(panel)[1])[1])


def test_scale_and_offset_of_all_are_not_noticed(norm):
    norm.controls["scale"].value = 5.0
    norm.controls["offset"].value = 9.5
    assert change(norm) == 0


def test_a_tiny_scale_is_noticed_because_of_eps(norm):
    norm.controls["scale"].value = 1e-4
    assert change(norm) > 1


def test_shift_of_one_channel_is_noticed_unless_it_is_a_group_of_its_own(norm):
    norm.controls["shift"].value = 8.0
    assert change(norm) > 1
    norm.controls["n_groups"].value = 8
    assert change(norm) == 0


def test_means_of_the_groups_are_told(norm):
    norm.controls["offset"].value = 2.0
    norm.controls["n_groups"].value = 1
    told = float(re.search(r"Means of its groups (-?[\d.]+)\.", shown(norm)[1])[1])
    assert told == pytest.approx(2.0, abs=0.3)


def test_shifts_told_are_those_of_the_block(maps, diffusion):
    maps.controls["name"].value = "middle.res1"
    maps.controls["t"].value = 99
    alt = shown(maps)[1]
    told = {int(c): (float(s), float(left)) for c, s, left in re.findall(r"(\d+): (\S+) \((\S+) survives\)", alt)}
    model = diffusion.eps_model
    full = shifts(model, model.middle.res1, 100)
    surviving = (full.view(100, 2, 8) - full.view(100, 2, 8).mean(2, keepdim=True)).flatten(1)
    assert set(told) == set(surviving.std(0).topk(4).indices.tolist())
    for channel, (shift, left) in told.items():
        assert shift == pytest.approx(float(full[99, channel]), abs=0.006)
        assert left == pytest.approx(float(surviving[99, channel]), abs=0.006)


def test_means_told_are_those_of_the_maps(maps, diffusion):
    maps.controls["name"].value = "down.0.res"
    maps.controls["t"].value = 0
    alt = shown(maps)[1]
    channels = [int(c) for c in re.findall(r"(\d+): [+-]", alt)]
    told = [float(m) for m in re.search(r"conv2 gets (.*)", alt)[1].split(", ")]
    t = torch.tensor([0])
    eps = torch.randn(1, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    view = look_inside(diffusion.eps_model, diffusion.q_sample(torch.zeros(1, 1, 8, 8), t, eps), t, ["down.0.res"])
    assert told == pytest.approx(view["down.0.res"].seen[0, channels].mean((1, 2)).tolist(), abs=0.006)


def test_network_keeps_its_mode(diffusion):
    diffusion.train()
    panels.show_feature_maps(diffusion, torch.zeros(1, 1, 8, 8), n_maps=2, n_times=3)
    assert diffusion.eps_model.training


# Pictures


def test_drawing_follows_the_module():
    same = residual_picture(ResidualBlock(32, 32, 128, n_groups=8))
    assert "32 channels goes through GroupNorm (8 groups of 4)" in same.alt
    assert "dropout 0.1" in same.alt
    assert "shortcut (identity)" in same.alt
    wider = residual_picture(ResidualBlock(32, 64, 128, n_groups=8, dropout=0.0))
    assert "shortcut (1×1 convolution, 32 → 64)" in wider.alt
    assert wider.png != same.png


def test_drawing_says_when_the_second_convolution_starts_at_zero():
    block = ResidualBlock(8, 8, 16, n_groups=2)
    assert "starts at 0" not in residual_picture(block).alt
    nn.init.zeros_(block.conv2.weight)
    assert "3x3 convolution, starts at 0" in residual_picture(block).alt


def test_static_pictures_say_what_they_show():
    x = torch.linspace(-3, 3, 20)
    swish = swish_picture(x, {"Swish": (F.silu(x), x), "ReLU": (x.relu(), x)}, (-1.278, -0.278))
    assert "Swish and ReLU over x" in swish.alt
    flow = flow_picture({"plain": (torch.tensor([0.001, 1.0]), torch.tensor([0.5, 1.0]))})
    assert "below 1 blocks and its cosine when the input moves: plain 0.001 and 0.50" in flow.alt
    losses = losses_picture({"one": [1.0, 1.0], "two": [0.5, 0.5]})
    assert "over 2 steps, running averages at the end: one 1.00, two 0.50" in losses.alt
    for shown_picture in (swish, flow, losses):
        assert len(np.unique(np.asarray(shown_picture.image()))) > 10
