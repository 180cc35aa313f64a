"""The equations of notebook 08: each holds, and wrong ones in their place are found out."""

import math

import pytest
import torch
import torch.nn.functional as F

from ddpm_lesson.lesson.ch08_down_up_middle import proofs
from ddpm_lesson.lesson.ch08_down_up_middle.proofs import prove
from ddpm_lesson.lesson.ch08_down_up_middle.upsampling import nearest_kernel
from ddpm_lesson.lesson.ch08_down_up_middle.windows import Field
from ddpm_lesson.lesson.kit.xray import bridges
from ddpm_lesson.unet import UNet, Upsample


def recursion(size=lambda size, k, s, jump: size + (k - 1) * jump, jump=lambda jump, s: jump * s,
              centre=lambda k, before: (k - 1) / 2 - before):  # fmt: skip
    """``receptive_fields`` with an error planted."""

    def formula(layers):
        found = Field(1, 1, 0.0)
        for k, s, before in layers:
            found = Field(
                size(found.size, k, s, found.jump),
                jump(found.jump, s),
                found.centre + centre(k, before) * found.jump,
            )
        return [found]

    return formula


def untied(weight):
    """A kernel that repeats pixels but forgets to turn the weights round."""
    return nearest_kernel(weight.flip(-1, -2))


def added(x, skip, weight):
    """One half of the weights for the sum of both maps."""
    narrow = min(x.shape[1], skip.shape[1])
    return F.conv2d(x[:, :narrow] + skip[:, :narrow], weight[:, :narrow], padding=1)


def swapped(x, skip, weight):
    """The weights of the skip for what comes from below, as far as they reach."""
    n = skip.shape[1]
    of_skip, of_x = weight[:, :n], weight[:, n:]
    return F.conv2d(x, of_x, padding=1) + F.conv2d(skip, of_skip, padding=1) if of_x.shape[1] == x.shape[1] else x * 0


def compounding(n_channels, ch_mults, n_blocks):
    """The source document's widths: every level multiplies the one above."""
    products = [math.prod(ch_mults[: i + 1]) for i in range(len(ch_mults))]
    return proofs.up_channels(n_channels, products, n_blocks)


def no_extra_block(n_channels, ch_mults, n_blocks):
    return proofs.up_channels(n_channels, ch_mults, n_blocks - 1)


PLANTED = [
    ("8.1", recursion(size=lambda size, k, s, jump: size + k * jump)),
    ("8.1", recursion(size=lambda size, k, s, jump: size + k - 1)),
    ("8.1", recursion(size=lambda size, k, s, jump: size + (k - 1) * jump * s)),
    ("8.1", recursion(jump=lambda jump, s: jump + s - 1)),
    ("8.1", recursion(centre=lambda k, before: (k - 1) / 2 + before)),
    ("8.1", recursion(centre=lambda k, before: 0.0)),
    ("8.2", lambda n, k, s, before, after: (n + 2 * before - k) // s + 1),  # right for symmetric padding only
    ("8.2", lambda n, k, s, before, after: (n + before + after - k) // s),
    ("8.2", lambda n, k, s, before, after: -(-(n + before + after - k) // s) + 1),
    ("8.3", lambda n, k, s, crop: n * s + k - 2 * crop),
    ("8.3", lambda n, k, s, crop: (n - 1) * s + k - crop),
    ("8.3", lambda n, k, s, crop: n * s),  # right for kernel 4, stride 2, crop 1 only
    ("8.4", lambda phase, k, s: k // s),
    ("8.4", lambda phase, k, s: -(-k // s)),
    ("8.4", lambda phase, k, s: (k - phase) // s),
    ("8.5", lambda w: w.sum().abs() / 4),
    ("8.5", lambda w: proofs.nyquist_gain(w) * 4),
    ("8.5", lambda w: (w[::2].sum() - w[1::2].sum()).abs() / 4),  # stripes, not a checkerboard
    ("8.6", untied),
    ("8.6", lambda w: nearest_kernel(w) / 4),
    ("8.6", lambda w: F.pad(w.flip(-1, -2).transpose(0, 1), (0, 1, 0, 1))),
    ("8.7", added),
    ("8.7", swapped),
    ("8.8", compounding),
    ("8.8", no_extra_block),
    ("8.8", lambda c, mults, n: [2 * c * m for m in reversed(mults) for _ in range(n + 1)]),
    ("8.8", lambda c, mults, n: proofs.up_channels(c, mults, n)[::-1]),
]


@pytest.mark.parametrize(("number", "wrong"), PLANTED)
def test_a_wrong_formula_is_found_out(number, wrong):
    assert not prove(number, formula=wrong).holds


@pytest.mark.parametrize("number", ["8.2", "8.4", "8.5"])
def test_a_formula_that_is_not_a_number_is_found_out(number):
    assert not prove(number, formula=lambda *_: torch.tensor(torch.nan)).holds


def test_size_of_transposed_convolution_is_that_of_the_packages_upsampling():
    assert Upsample(1, "transposed")(torch.zeros(1, 1, 7, 7)).shape[-1] == proofs.transposed_size(7, 4, 2, 1) == 14


@pytest.mark.parametrize("settings", [(24, (1, 2, 4), 1), (16, (2, 1, 3), 2), (32, (1,), 3)])
def test_channels_that_enter_are_those_of_live_blocks(settings):
    n_channels, ch_mults, n_blocks = settings
    model = UNet(1, n_channels, ch_mults, (False,) * len(ch_mults), n_blocks, n_groups=8)
    assert proofs.up_channels(*settings) == [up.module.res.norm1.num_channels for _, up in bridges(model)]


def test_channels_that_enter_are_those_of_diffusers():
    diffusers = pytest.importorskip("diffusers")
    theirs = diffusers.UNet2DModel(
        sample_size=16,
        block_out_channels=(32, 64, 64),
        down_block_types=("DownBlock2D",) * 3,
        up_block_types=("UpBlock2D",) * 3,
        layers_per_block=2,
    )
    entering = [resnet.norm1.num_channels for block in theirs.up_blocks for resnet in block.resnets]
    assert proofs.up_channels(32, (1, 2, 2), 2) == entering
