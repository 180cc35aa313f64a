"""The exercises of notebook 06 accept every right answer, in any form; modules are used as they are."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from ddpm_lesson.lesson.ch06_residual_block.exercises import (
    check_arriving_shift,
    check_group_norm,
    check_residual_forward,
    check_swish,
)


def norm_by_loops(x, n_groups, eps):
    size = x.shape[1] // n_groups
    y = x.double().numpy().copy()
    for image in y:
        for g in range(n_groups):
            group = image[g * size : (g + 1) * size]
            group[:] = (group - group.mean()) / np.sqrt(group.var() + eps)
    return y


def norm_by_moments(x, n_groups, eps):
    groups = x.view(x.shape[0], n_groups, -1)
    mean = groups.mean(-1, keepdim=True)
    var = (groups**2).mean(-1, keepdim=True) - mean**2
    return ((groups - mean) * torch.rsqrt(var + eps)).view_as(x)


def forward_in_place(block, x, t):
    h = block.norm1(x)
    h = F.conv2d(F.silu(h), block.conv1.weight, block.conv1.bias, padding=1)
    h += block.time_emb(F.silu(t)).unsqueeze(-1).unsqueeze(-1)
    h = F.silu(F.group_norm(h, block.norm2.num_groups, block.norm2.weight, block.norm2.bias, block.norm2.eps))
    h = block.conv2(F.dropout(h, block.dropout.p, block.dropout.training))
    return block.shortcut(x) + h


RIGHT = [
    (check_group_norm, lambda x, n_groups, eps: F.group_norm(x, n_groups, eps=eps)),
    (check_group_norm, norm_by_loops),
    (check_group_norm, norm_by_moments),
    (check_swish, lambda x: x / (1 + torch.exp(-x))),
    (check_swish, lambda x: x.numpy() / (1 + np.exp(-x.numpy()))),
    (check_swish, lambda x: 0.5 * x * (1 + torch.tanh(x / 2))),
    (check_arriving_shift, lambda s, g: F.group_norm(s[:, :, None] + torch.tensor([1.0, -1.0]), g, eps=0).mean(2)),
    (check_residual_forward, forward_in_place),
    (check_residual_forward, lambda block, x, t_emb: block(x, t_emb)),
]


@pytest.mark.parametrize(("exercise", "answer"), RIGHT)
def test_right_answer_is_accepted_in_other_forms(exercise, answer):
    assert exercise(answer).passed


def test_weights_of_the_cases_are_nowhere_zero_so_that_every_mistake_shows():
    for block, _, _ in check_residual_forward.cases:
        assert all(p.abs().max() > 0 for p in block.parameters())


def test_cases_hold_an_identity_a_convolution_and_a_block_in_training():
    blocks = [case[0] for case in check_residual_forward.cases]
    assert {type(block.shortcut) for block in blocks} == {nn.Identity, nn.Conv2d}
    assert {block.training for block in blocks} == {True, False}


@pytest.mark.parametrize(
    ("exercise", "attempt", "name"),
    [
        (check_group_norm, lambda x, g, eps: F.instance_norm(x, eps=eps), "per channel"),
        (check_group_norm, lambda x, g, eps: F.layer_norm(x, x.shape[1:], eps=eps), "all channels at once"),
        (check_group_norm, lambda x, g, eps: F.batch_norm(x, None, None, None, None, True, 0.1, eps), None),
        (check_swish, lambda x: torch.maximum(x, torch.zeros(())), "ReLU"),
        (check_swish, lambda x: torch.log(1 + torch.exp(x)), "softplus"),
    ],
)
def test_mistakes_written_otherwise_are_recognised(exercise, attempt, name):
    assert exercise(attempt).misconception == (name or "statistics over the batch")
