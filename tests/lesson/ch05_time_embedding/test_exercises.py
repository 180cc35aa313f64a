"""The exercises of notebook 05 agree with the package and with diffusers, and take right answers in other forms."""

import cmath
import math

import numpy as np
import pytest
import torch
from torch import nn

from ddpm_lesson.lesson.ch05_time_embedding.exercises import (
    check_add_time,
    check_frequencies,
    check_sinusoids,
    check_steps_per_turn,
)
from ddpm_lesson.lesson.ch05_time_embedding.experiments import turn_steps
from ddpm_lesson.unet import ResidualBlock, TimeEmbedding


@pytest.mark.parametrize("n", [8, 24, 128])
def test_sinusoids_are_those_of_the_package_and_of_diffusers(diffusers, n):
    from diffusers.models.embeddings import get_timestep_embedding

    t = torch.tensor([0, 3, 500, 999])
    answer = check_sinusoids.solution(t, n)
    torch.testing.assert_close(answer, TimeEmbedding(4 * n).sinusoids(t), atol=2e-4, rtol=0)
    torch.testing.assert_close(answer, get_timestep_embedding(t, n), atol=2e-4, rtol=0)


@pytest.mark.parametrize(
    ("settings", "mistake"),
    [({"downscale_freq_shift": 0}, "half for half - 1"), ({"flip_sin_to_cos": True}, "cosines first")],
)
def test_other_settings_of_diffusers_are_recognised(diffusers, settings, mistake):
    from diffusers.models.embeddings import get_timestep_embedding

    assert check_sinusoids(lambda t, n: get_timestep_embedding(t, n, **settings)).misconception == mistake


def test_turns_are_those_of_the_package():
    turns = turn_steps(TimeEmbedding(96)).tolist()
    assert [check_steps_per_turn.solution(i, 12) for i in range(12)] == pytest.approx(turns, rel=1e-5)
    assert sum(steps < 1000 for steps in turns) == 7  # as the consequence says


def test_shift_is_that_of_a_residual_block():
    block = ResidualBlock(8, 8, 16, n_groups=4, dropout=0.0)
    block.conv1 = nn.Identity()
    block.norm1 = block.act1 = block.norm2 = block.act2 = block.conv2 = nn.Identity()
    h, t_emb = torch.randn(3, 8, 5, 5), torch.randn(3, 16)
    shifted = check_add_time.solution(h, t_emb, block.time_emb.weight, block.time_emb.bias)
    torch.testing.assert_close(block(h, t_emb) - h, shifted)


def frequencies_by_division(half):
    values = [1.0]
    while len(values) < half:
        values.append(values[-1] / 10_000 ** (1 / (half - 1)))
    return values


def sinusoids_by_complex_numbers(t, n_channels):
    half = n_channels // 2
    rows = [[cmath.exp(1j * time * 10_000 ** (-i / (half - 1))) for i in range(half)] for time in t.tolist()]
    hands = torch.tensor(rows)
    return torch.cat((hands.imag, hands.real), dim=1)


def sinusoids_in_numpy(t, n_channels):
    angle = np.outer(t.numpy(), np.geomspace(1, 1e-4, n_channels // 2))
    return np.concatenate((np.sin(angle), np.cos(angle)), axis=1)


def turn_by_tensor(i, half):
    return 2 * torch.pi / torch.logspace(0, -4, half, dtype=torch.float64)[i]


def add_time_in_place(h, t_emb, weight, bias):
    return h.clone().add_((t_emb * t_emb.sigmoid() @ weight.T + bias).view(*h.shape[:2], 1, 1))


def add_time_image_by_image(h, t_emb, weight, bias):
    h = h.clone()
    for image, emb in zip(h, t_emb, strict=True):
        for c in range(len(image)):
            image[c] += float(weight[c] @ (emb / (1 + torch.exp(-emb))) + bias[c])
    return h


@pytest.mark.parametrize(
    ("exercise", "answer"),
    [
        (check_frequencies, frequencies_by_division),
        (check_frequencies, lambda half: torch.exp(-math.log(10_000) * torch.arange(half) / (half - 1))),
        (check_frequencies, lambda half: np.geomspace(1, 1e-4, half)),
        (check_sinusoids, sinusoids_by_complex_numbers),
        (check_sinusoids, sinusoids_in_numpy),
        (check_steps_per_turn, turn_by_tensor),
        (check_steps_per_turn, lambda i, half: math.tau / check_frequencies.solution(half)[i]),
        (check_add_time, add_time_in_place),
        (check_add_time, add_time_image_by_image),
    ],
)
def test_right_answer_is_accepted_in_other_forms(exercise, answer):
    assert exercise(answer).passed
