"""The equations of notebook 07: each holds, and wrong ones in their place are found out."""

import pytest
import torch
from torch import nn

from ddpm_lesson.lesson.ch07_attention_block.experiments import without_norm
from ddpm_lesson.lesson.ch07_attention_block.proofs import prove, sum_of_heads
from ddpm_lesson.unet import AttentionBlock


def attention_with(scale=lambda q: q.shape[-1] ** -0.5, axis=-1, swap=False):
    """A wrong form of attention."""

    def formula(q, k, v):
        return (q @ k.transpose(-2, -1) * scale(q)).softmax(axis) @ (k if swap else v)

    return formula


def swapped_layout(block, x):
    """Heads that take their channels from an array cut in the wrong order."""
    q, k, v = block.qkv(x)
    o = (q @ k.transpose(-2, -1) / block.d_k**0.5).softmax(-1) @ v
    return block.output(o.reshape(len(x), -1, block.output.in_features)).transpose(1, 2).reshape(x.shape)


def mean_of_heads(block, x):
    return sum_of_heads(block, x) / block.n_heads


def with_positions(block, x):
    """Attention that is told where each pixel is."""
    return block(x + torch.linspace(0, 1, x[0, 0].numel(), dtype=x.dtype).view(x.shape[2:]))


def after_a_convolution(block, x):
    torch.manual_seed(0)
    return block(nn.Conv2d(8, 8, 3, padding=1, dtype=x.dtype).requires_grad_(False)(x))


PLANTED = [
    ("7.1", attention_with(scale=lambda q: 1.0)),
    ("7.1", attention_with(scale=lambda q: 1 / q.shape[-1])),
    ("7.1", attention_with(axis=-2)),
    ("7.2", lambda d_k: 1.0),
    ("7.2", lambda d_k: d_k**2),
    ("7.2", lambda d_k: d_k**0.5),
    ("7.2", lambda d_k: 1.0001 * d_k),
    ("7.2", lambda d_k: d_k + 1e-6),
    ("7.2", {"scale": lambda d_k: float(d_k)}),
    ("7.2", {"scale": lambda d_k: 1.0}),
    ("7.2", {"scale": lambda d_k: (d_k + 1e-6) ** 0.5}),
    ("7.3", lambda a: a.diag()),
    ("7.3", lambda a: a.diag() + a[:, None] * a[None]),
    ("7.3", lambda a: (a * (1 - a)).diag()),
    ("7.4", mean_of_heads),
    ("7.4", swapped_layout),
    ("7.4", lambda block, x: x + sum_of_heads(block, x)),
    ("7.5", lambda c: c),
    ("7.5", lambda c: 1.0),
    ("7.5", {"norm": without_norm}),  # created and never applied: the source document's slip
    ("7.6", with_positions),
    ("7.6", after_a_convolution),
    ("7.7", lambda side, c, h, d: (2 * side**4 * (h * (d or c // h)), 3 * side**2 * c * h * (d or c // h))),
    ("7.7", lambda side, c, h, d: (2 * side**2 * (h * (d or c // h)), 4 * side**2 * c * h * (d or c // h))),
    ("7.7", lambda side, c, h, d: (2 * h * side**4 * c, 4 * side**2 * c * c)),  # every head as wide as the map
    ("7.8", lambda side, h: h * side**4),
    ("7.8", lambda side, h: 4 * side**4),
    ("7.8", lambda side, h: 4 * h * side**2),
    ("7.9", lambda c: 4 * c**2),
    ("7.9", lambda c: 4 * c**2 + 4 * c),  # a norm that is not there
]


@pytest.mark.parametrize(("number", "wrong"), PLANTED)
def test_wrong_formula_is_found_out(number, wrong):
    wrong = wrong if isinstance(wrong, dict) else {"formula": wrong}
    assert not prove(number, **wrong).holds


def test_formula_that_gives_nan_does_not_hold():
    assert not prove("7.1", formula=lambda q, k, v: attention_with()(q, k, v) * torch.nan).holds
    assert not prove("7.6", formula=lambda block, x: AttentionBlock.forward(block, x) * torch.nan).holds
