"""The exercises of notebook 08 agree with PyTorch and with the package's own blocks."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from ddpm_lesson.lesson.ch08_down_up_middle import exercises as ex
from ddpm_lesson.lesson.ch08_down_up_middle import proofs, windows
from ddpm_lesson.unet import UNet, UpBlock


def pytorchs_size(n, kernel, stride, before, after):
    return F.conv1d(F.pad(torch.zeros(1, 1, n), (before, after)), torch.zeros(1, 1, kernel), stride=stride).shape[2]


def field_by_going_back(layers):
    size = 1
    for kernel, stride, dilation in reversed(layers):
        size = (size - 1) * stride + (kernel - 1) * dilation + 1
    return size


def packages_field(layers):
    spread = [((kernel - 1) * dilation + 1, stride, 0) for kernel, stride, dilation in layers]
    return windows.receptive_fields(spread)[-1].size


def field_by_autograd(layers):
    y = x = torch.zeros(1, 1, 900, dtype=torch.float64, requires_grad=True)
    for kernel, stride, dilation in layers:
        y = F.conv1d(y, torch.ones(1, 1, kernel, dtype=torch.float64), stride=stride, dilation=dilation)
    seen = torch.autograd.grad(y[0, 0, 0], x)[0].flatten().nonzero()
    return int(seen.max() - seen.min()) + 1


def channels_of_a_live_network(n_channels, ch_mults, n_blocks):
    model = UNet(1, n_channels, ch_mults, (False,) * len(ch_mults), n_blocks, n_groups=8)
    return [module.res.conv1.in_channels for module in model.up if isinstance(module, UpBlock)]


class Toy(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.forward = function


def packages_up_block(res, attn, x, skip, t_emb):
    block = UpBlock(2, 2, 2, 32, False, n_groups=1)
    block.res, block.attn = Toy(res), Toy(attn)
    return block(x, skip, t_emb)


@pytest.mark.parametrize(
    ("exercise", "answer"),
    [
        (ex.check_conv_size, pytorchs_size),
        (ex.check_receptive_field, field_by_going_back),
        (ex.check_receptive_field, packages_field),
        (ex.check_receptive_field, field_by_autograd),
        (ex.check_up_channels, channels_of_a_live_network),
        (ex.check_up_channels, proofs.up_channels),
        (ex.check_up_block, packages_up_block),
    ],
)
def test_right_answer_is_accepted_in_other_forms(exercise, answer):
    assert exercise(answer).passed


@pytest.mark.parametrize(
    "way",
    [
        lambda x: F.interpolate(x, scale_factor=2, mode="nearest"),
        lambda x: x[:, :, torch.arange(2 * x.shape[2]) // 2][..., torch.arange(2 * x.shape[3]) // 2],
        lambda x: torch.kron(x, torch.ones(2, 2)),
        lambda x: F.conv_transpose2d(x, torch.ones(x.shape[1], 1, 2, 2), stride=2, groups=x.shape[1]),
        lambda x: x[:, :, :, None, :, None].expand(-1, -1, -1, 2, -1, 2).reshape(*x.shape[:2], 2 * x.shape[2], -1),
        lambda x: x.numpy().repeat(2, 2).repeat(2, 3),
    ],
)
def test_every_way_to_repeat_pixels_is_accepted(way):
    assert ex.check_upsample_nearest(way).passed
