"""Upsampling and its checkerboards, held against PyTorch and diffusers."""

import pytest
import torch
import torch.nn.functional as F

from ddpm_lesson.lesson.ch08_down_up_middle import upsampling
from ddpm_lesson.lesson.kit.exercise import numbers
from ddpm_lesson.unet import Downsample, Upsample


@pytest.mark.parametrize(("kernel", "stride"), [(3, 2), (4, 2), (5, 3), (2, 4)])
def test_constant_image_comes_out_as_the_gains_of_its_phases(kernel, stride):
    weight, side, n = numbers(kernel, kernel, seed=0), 2 * kernel + 24 // stride, range(stride)
    output = upsampling.enlarge(torch.ones(side, side), weight, stride, "transposed")
    assert output.shape == (24, 24)
    gains = torch.tensor([[weight[a::stride, b::stride].sum() for b in n] for a in n])
    torch.testing.assert_close(output, gains.tile(24 // stride, 24 // stride), atol=1e-5, rtol=0)


@pytest.mark.parametrize("kernel", [2, 3, 4, 5])
@pytest.mark.parametrize("stride", [2, 3, 4])
def test_repeating_pixels_keeps_a_constant_image_constant(kernel, stride):
    side = 2 * kernel + 24 // stride
    output = upsampling.enlarge(torch.ones(side, side), numbers(kernel, kernel, seed=0), stride, "nearest + conv")
    assert output.shape == (24, 24)
    assert upsampling.unevenness(output) < 1e-5


def test_unevenness_is_zero_for_flat_and_one_for_pure_pattern():
    assert upsampling.unevenness(torch.full((4, 4), 3.0)) == 0
    assert upsampling.unevenness(torch.tensor([[1.0, -1.0], [-1.0, 1.0]])) == 1


def test_spectrum_of_stripes_is_one_line():
    frequency, amplitude = upsampling.spectrum(torch.tensor([1.0, 0.0]).tile(8, 4))
    assert frequency.tolist() == [0, 0.125, 0.25, 0.375, 0.5]
    torch.testing.assert_close(amplitude, torch.tensor([0.5, 0, 0, 0, 0.5], dtype=torch.float64))


def test_unknown_method_is_refused():
    with pytest.raises(ValueError, match="method must be one of transposed, nearest"):
        upsampling.enlarge(torch.ones(9, 9), torch.ones(2, 2), 2, "bilinear")


def test_nearest_upsampling_is_a_transposed_upsampling_with_tied_weights():
    nearest, transposed = Upsample(5), Upsample(5, "transposed")
    with torch.no_grad():
        transposed.conv.weight.copy_(upsampling.nearest_kernel(nearest.conv.weight))
        transposed.conv.bias.copy_(nearest.conv.bias)
        x = numbers(2, 5, 6, 7, seed=0)
        torch.testing.assert_close(transposed(x), nearest(x))


@pytest.mark.parametrize("padding", ["asymmetric", "symmetric"])
def test_resampling_agrees_with_diffusers(padding):
    resnet = pytest.importorskip("diffusers.models.resnet")
    x = numbers(2, 4, 8, 8, seed=0)
    theirs = resnet.Downsample2D(4, use_conv=True, padding=int(padding == "symmetric"), name="op")
    ours = Downsample(4, padding)
    ours.conv.load_state_dict(theirs.conv.state_dict())
    up, our_up = resnet.Upsample2D(4, use_conv=True), Upsample(4)
    our_up.conv.load_state_dict(up.conv.state_dict())
    with torch.no_grad():
        torch.testing.assert_close(ours(x), theirs(x))
        torch.testing.assert_close(our_up(x), up(x))


def test_upsampling_that_repeats_draws_no_pattern_and_the_other_learns_as_well():
    x0 = numbers(64, 1, 8, 8, seed=0).tanh()
    grey = torch.full((1, 1, 12, 12), 0.3)
    flat = {}
    for method in ("nearest", "transposed"):
        network = upsampling.learn_upsampling(Upsample(4, method), x0, n_steps=20)
        flat[method] = network(grey)[0, 0, 4:20, 4:20].std().item()
    assert flat["nearest"] < 1e-5 < 1e-3 < flat["transposed"]


def test_learning_lowers_the_loss_and_leaves_chance_alone():
    x0 = numbers(64, 1, 4, 4, seed=0).tanh().repeat_interleave(2, 2).repeat_interleave(2, 3)
    layer, losses = Upsample(4), []
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    for n_steps in (0, 60):
        network = upsampling.learn_upsampling(layer, x0, n_steps)
        losses.append(F.mse_loss(network(F.avg_pool2d(x0, 2)), x0).item())
    assert losses[1] < 0.9 * losses[0]
    assert torch.equal(torch.rand(2), expected)
