"""Notebook 07's panels: where a pixel looks, and what the scale of the scores does."""

import re

import pytest
import torch

from ddpm_lesson import DenoiseDiffusion, UNet
from ddpm_lesson.lesson.ch07_attention_block import panels
from ddpm_lesson.lesson.ch07_attention_block.experiments import looks
from tests.lesson.shown import shown


@pytest.fixture(scope="module")
def diffusion():
    return random_model()


def random_model():
    torch.manual_seed(0)
    model = UNet(1, 8, (1, 2), (False, True), 1, n_heads=2, n_groups=4)
    for parameter in model.parameters():
        if parameter.ndim > 1:  # the network starts with silent branches
            torch.nn.init.normal_(parameter, 0, parameter[0].numel() ** -0.5)
    return DenoiseDiffusion(model, 100)


X0 = torch.rand(1, 1, 12, 12, generator=torch.Generator().manual_seed(0)) * 2 - 1
PANELS = {
    "show_attention": lambda: panels.show_attention(random_model(), X0),
    "show_score_scale": panels.show_score_scale,
}


@pytest.fixture
def looking(diffusion):
    return panels.show_attention(diffusion, X0)


def test_words_are_those_of_the_map(looking, diffusion):
    looking.controls["t"].value = 35
    looking.controls["block"].value = "middle.attn"
    looking.controls["row"].value = 2
    looking.controls["column"].value = 5
    eps = torch.randn(X0.shape, generator=torch.Generator().manual_seed(0))
    t = torch.tensor([35])
    weights = looks(diffusion.eps_model, diffusion.q_sample(X0, t, eps), t)[1]["middle.attn"]
    weights = weights[0, :, 2, 5].mean(0)  # over heads
    row, column = divmod(int(weights.argmax()), 6)
    _, alt = shown(looking)
    assert "query at row 2, column 5, block middle.attn, t = 35 of 100" in alt
    assert (
        f"most to row {row}, column {column}: {float(weights.max()):.0%}; to itself {float(weights[2, 5]):.0%}" in alt
    )


def test_the_network_keeps_its_mode(looking, diffusion):
    assert diffusion.training


def numbers(panel):
    """Spread of the scores, largest weight, number of keys and gradient, as the words say."""
    return [float(n) for n in re.findall(r"(?:by|weight|at|left) ([\d.]+)", shown(panel)[1])]


def test_without_a_scale_a_wide_head_sees_one_key_and_has_no_gradient_left():
    panel = panels.show_score_scale()
    panel.controls["d_k"].value = 1024
    scaled = numbers(panel)
    panel.controls["scale"].value = "none"
    unscaled = numbers(panel)
    assert unscaled[0] == pytest.approx(32 * scaled[0], rel=0.02)
    assert unscaled[1:] == [1, 1, 0]
    assert scaled[2] > 3


def test_words_agree_with_the_softmax():
    panel = panels.show_score_scale()
    q, *keys = torch.randn(17, 64, generator=torch.Generator().manual_seed(panel.controls["seed"].value))
    weights = (torch.stack(keys) @ q / 8).softmax(0)
    entropy = -(weights * weights.log()).sum()
    _, largest, seen, left = numbers(panel)
    assert largest == pytest.approx(float(weights.max()), abs=1e-3)
    assert seen == pytest.approx(float(entropy.exp()), abs=0.06)
    assert left == pytest.approx(float((weights * (1 - weights)).sum()), abs=1e-3)
