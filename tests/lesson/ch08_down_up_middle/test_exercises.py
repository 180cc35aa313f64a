"""The exercises of notebook 08 agree with PyTorch and with the package's own blocks."""

import pytest
import torch
import torch.nn.functional as F

from ddpm_lesson.lesson.ch08_down_up_middle.exercises import (
    check_conv_size,
    check_receptive_field,
    check_up_block,
    check_up_channels,
    check_upsample_nearest,
)
from ddpm_lesson.unet import UNet, UpBlock

EXERCISES = [check_conv_size, check_receptive_field, check_up_block, check_up_channels, check_upsample_nearest]


@pytest.mark.parametrize("exercise", EXERCISES, ids=lambda exercise: exercise.function)
def test_knows_many_mistakes(exercise):
    assert len(exercise.mistakes) >= 9


def test_size_is_pytorchs():
    def size(n, kernel, stride, before, after):
        return F.conv1d(F.pad(torch.zeros(1, 1, n), (before, after)), torch.zeros(1, 1, kernel), stride=stride).shape[2]

    assert check_conv_size(size).passed


@pytest.mark.parametrize(
    "way",
    [
        lambda x: F.interpolate(x, scale_factor=2, mode="nearest"),
        lambda x: x[:, :, torch.arange(2 * x.shape[2]) // 2][..., torch.arange(2 * x.shape[3]) // 2],
        lambda x: torch.kron(x, torch.ones(2, 2)),
        lambda x: F.conv_transpose2d(
            x, torch.ones(x.shape[1], 1, 2, 2), stride=2, groups=x.shape[1]
        ),
        lambda x: x[:, :, :, None, :, None].expand(-1, -1, -1, 2, -1, 2).reshape(*x.shape[:2], 2 * x.shape[2], -1),
        lambda x: x.numpy().repeat(2, 2).repeat(2, 3),
    ],
)  # fmt: skip
def test_every_way_to_repeat_pixels_is_accepted(way):
    assert check_upsample_nearest(way).passed


def test_field_by_going_back_is_accepted():
    def backwards(layers):
        size = 1
        for kernel, stride in reversed(layers):
            size = (size - 1) * stride + kernel
        return size

    assert check_receptive_field(backwards).passed


def test_channels_read_off_a_live_network_are_accepted():
    def live(n_channels, ch_mults, n_blocks):
        model = UNet(1, n_channels, ch_mults, (False,) * len(ch_mults), n_blocks, n_groups=8)
        return [module.res.conv1.in_channels for module in model.up if isinstance(module, UpBlock)]

    assert check_up_channels(live).passed


def test_up_block_of_the_package_is_accepted():
    def package(res, attn, x, skip, t_emb):
        block = UpBlock(2, 2, 2, 32, False, n_groups=1)
        block.res, block.attn = res, attn
        return block(x, skip, t_emb)

    class Toy(torch.nn.Module):
        def __init__(self, function):
            super().__init__()
            self.function = function

        def forward(self, *args):
            return self.function(*args)

    assert check_up_block(lambda res, attn, *maps: package(Toy(res), Toy(attn), *maps)).passed
