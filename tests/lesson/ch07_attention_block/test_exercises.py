"""The exercises of notebook 07 agree with the package and accept right answers however they are written."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from ddpm_lesson.lesson.ch07_attention_block import exercises as ex
from ddpm_lesson.lesson.ch07_attention_block.cost import attention_macs
from ddpm_lesson.lesson.ch07_attention_block.exercises.block import attention_block, in_convolutions
from ddpm_lesson.lesson.ch07_attention_block.experiments import attention
from ddpm_lesson.unet import AttentionBlock


def tokens_by_loops(x):
    B, C, H, W = x.shape
    tokens = torch.empty(B, H * W, C)
    for row in range(H):
        for column in range(W):
            tokens[:, row * W + column] = x[:, :, row, column]
    return tokens


def image_in_numpy(tokens, height, width):
    return np.moveaxis(tokens.numpy().reshape(len(tokens), height, width, -1), -1, 1)


def attention_by_softmax_of_logs(q, k, v):
    scores = torch.einsum("bid,bjd->bij", q.double(), k.double()) * q.shape[-1] ** -0.5
    weights = (scores - scores.logsumexp(-1, keepdim=True)).exp()
    return torch.einsum("bij,bjd->bid", weights, v.double())


def heads_by_chunks(x, n_heads):
    return torch.stack(x.chunk(n_heads, dim=-1), dim=1)


def block_with_einsum(x, norm, projection, output):
    B, C, H, W = x.shape
    tokens = norm(x).permute(0, 2, 3, 1).reshape(B, H * W, C)
    q, k, v = projection(tokens).split(C, dim=2)
    h = output(attention(q, k, v))
    return h.view(B, H, W, C).permute(0, 3, 1, 2) + x


@pytest.mark.parametrize(
    ("exercise", "answer"),
    [
        (ex.check_to_tokens, tokens_by_loops),
        (ex.check_to_tokens, lambda x: x.permute(0, 2, 3, 1).flatten(1, 2)),
        (ex.check_to_image, image_in_numpy),
        (ex.check_to_image, lambda tokens, h, w: tokens.mT.unflatten(2, (h, w))),
        (ex.check_attention, attention_by_softmax_of_logs),
        (ex.check_attention, F.scaled_dot_product_attention),
        (ex.check_split_heads, heads_by_chunks),
        (ex.check_attention_block, block_with_einsum),
        (ex.check_in_convolutions, lambda side, n_channels: (2 * side**2 / n_channels + 4) / 9),
    ],
)
def test_right_answer_is_accepted_in_other_forms(exercise, answer):
    assert exercise(answer).passed


def test_solution_is_the_block_of_the_package():
    torch.manual_seed(0)
    block, x = AttentionBlock(8, n_groups=2), torch.randn(2, 8, 3, 5)
    answer = attention_block(x, block.norm, block.projection, block.output)
    torch.testing.assert_close(answer, block(x), atol=1e-5, rtol=1e-5)


def test_cost_in_convolutions_is_that_of_the_package():
    conv = 9 * 24**2 * 40**2
    assert in_convolutions(24, 40) == pytest.approx(sum(attention_macs(24, 40)) / conv)


def test_forgotten_norm_is_named():
    def forgetful(x, norm, projection, output):
        q, k, v = projection(x.flatten(2).mT).chunk(3, dim=-1)
        return x + output(F.scaled_dot_product_attention(q, k, v)).mT.reshape(x.shape)

    assert ex.check_attention_block(forgetful).misconception == "forgotten norm"
