"""Sizes and windows, held against the package and autograd."""

import pytest
import torch
from torch import nn

from ddpm_lesson.lesson.ch08_down_up_middle import windows
from ddpm_lesson.lesson.kit.exercise import numbers
from ddpm_lesson.unet import Downsample, UNet, Upsample


@pytest.mark.parametrize("n", [8, 9, 14, 15])
@pytest.mark.parametrize("padding", ["asymmetric", "symmetric"])
def test_size_is_that_of_the_packages_downsampling(n, padding):
    module = Downsample(1, padding)
    before, after = module.pad[:2]
    assert module(torch.zeros(1, 1, n, n)).shape[-1] == windows.conv_size(n, 3, 2, before, after)


@pytest.mark.parametrize(("padding", "shift"), [("asymmetric", -0.5), ("symmetric", 0.5)])
def test_round_trip_moves_a_picture_by_half_a_pixel(padding, shift):
    rows, columns = torch.meshgrid(torch.arange(32.0), torch.arange(32.0), indexing="ij")
    blob = torch.exp(-((rows - 14) ** 2 + (columns - 17) ** 2) / 18)
    down, up = Downsample(1, padding), Upsample(1)
    with torch.no_grad():
        for module in (down, up):
            module.conv.weight.fill_(1 / 9)
            module.conv.bias.zero_()
        moved = up(down(blob[None, None]))[0, 0]
    row, column = windows.centre_of_mass(moved)
    assert abs(row - 14 - shift) < 1e-3
    assert abs(column - 17 - shift) < 1e-3


def test_windows_of_the_way_down_are_those_that_autograd_sees(unet):
    found = windows.stage_influences(windows.convolutions_only(unet), numbers(1, 1, 64, 64, seed=0), 100)
    for stage in windows.stages(unet)[: windows.stages(unet).index("middle") + 1]:
        field = windows.receptive_fields(windows.layers_down(unet, stage))[-1]
        top, bottom, left, right = windows.extent(found[stage])
        assert bottom - top + 1 == right - left + 1 == field.size
        middle = 64 // field.jump // 2
        assert (top + bottom) / 2 == middle * field.jump + field.centre


def test_symmetric_padding_keeps_the_centre_at_zero():
    model = UNet(1, 16, (1, 2, 2), (False,) * 3, 1, n_groups=8, downsample="symmetric")
    assert windows.receptive_fields(windows.layers_down(model, "middle"))[-1].centre == 0


def test_attention_and_normalisation_see_everything(unet):
    found = windows.stage_influences(unet, numbers(1, 1, 32, 32, seed=0), 100)
    assert (found["image_proj"] > 0).sum() == 9
    assert (found["down.0"] > 0).all()


def test_looking_leaves_the_network_as_it_was(unet):
    hooks = [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in unet.modules()]
    unet.train()
    windows.stage_influences(unet, numbers(1, 1, 16, 16, seed=0))
    windows.convolutions_only(unet)
    assert unet.training
    assert any(isinstance(m, nn.GroupNorm) for m in unet.modules())
    assert [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in unet.modules()] == hooks
    assert not any(p.grad is not None for p in unet.parameters())
    unet.eval()


def test_the_way_up_has_no_recursion(unet):
    with pytest.raises(ValueError, match=r"stage must be on the way down or the middle; got 'up\.0'"):
        windows.layers_down(unet, "up.0")


def test_only_the_stages_asked_for_are_looked_at(unet):
    xt = numbers(1, 1, 16, 16, seed=0)
    (found,) = windows.stage_influences(unet, xt, 100, ["down.1"]).items()
    assert found[0] == "down.1"
    torch.testing.assert_close(found[1], windows.stage_influences(unet, xt, 100)["down.1"])
