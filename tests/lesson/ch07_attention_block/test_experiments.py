"""Attention by hand against PyTorch and diffusers, and looks into a network."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from ddpm_lesson.lesson.ch07_attention_block.cost import attention_macs
from ddpm_lesson.lesson.ch07_attention_block.experiments import (
    attention,
    attention_blocks,
    attention_inputs,
    effective_pixels,
    looks,
    reach,
    saturation,
    with_frozen_norm,
    without_border,
    without_norm,
)
from ddpm_lesson.lesson.ch07_attention_block.proofs import lively_block
from ddpm_lesson.lesson.kit.influence import influence
from ddpm_lesson.lesson.kit.xray import layers
from ddpm_lesson.unet import AttentionBlock, UNet


@pytest.fixture
def unet():
    torch.manual_seed(0)
    model = UNet(1, 8, (1, 2), (False, True), 1, n_heads=2, n_groups=4)
    for parameter in model.parameters():
        if parameter.ndim > 1:  # the network starts with silent branches
            nn.init.normal_(parameter, 0, parameter[0].numel() ** -0.5)
    return model.eval()


@pytest.fixture
def noisy():
    return torch.randn(2, 1, 8, 12, generator=torch.Generator().manual_seed(0)), torch.tensor([3, 700])


def test_by_hand_is_what_pytorch_computes():
    generator = torch.Generator().manual_seed(0)
    for n, m, d_k, d_v in ((4, 4, 8, 8), (5, 9, 2, 6), (64, 64, 16, 16)):
        q, k, v = (torch.randn(2, 3, *s, generator=generator) for s in ((n, d_k), (m, d_k), (m, d_v)))
        torch.testing.assert_close(attention(q, k, v), F.scaled_dot_product_attention(q, k, v), atol=1e-5, rtol=1e-5)


def test_rows_of_the_map_sum_to_one_and_columns_do_not():
    q, k = torch.randn(2, 3, 7, 4, generator=torch.Generator().manual_seed(0))
    weights = attention(q, k, torch.eye(7))
    torch.testing.assert_close(weights.sum(-1), torch.ones(3, 7))
    assert (weights.sum(-2) - 1).abs().max() > 0.1


@pytest.mark.parametrize("n_heads", [1, 2])
def test_block_is_that_of_diffusers(n_heads):
    attention_processor = pytest.importorskip("diffusers.models.attention_processor")
    ours = lively_block(8, n_heads)
    theirs = attention_processor.Attention(
        8, heads=n_heads, dim_head=8 // n_heads, norm_num_groups=4, eps=1e-6, bias=True, residual_connection=True
    ).double()
    theirs.requires_grad_(False)
    theirs.group_norm.load_state_dict(ours.norm.state_dict())
    theirs.to_out[0].load_state_dict(ours.output.state_dict())
    weight = ours.projection.weight.view(n_heads, 3, -1, 8)
    bias = ours.projection.bias.view(n_heads, 3, -1)
    for i, linear in enumerate((theirs.to_q, theirs.to_k, theirs.to_v)):
        linear.weight.copy_(weight[:, i].reshape(8, 8))
        linear.bias.copy_(bias[:, i].reshape(8))
    x = torch.randn(2, 8, 3, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(ours(x), theirs(x))
    assert (ours(x) - x).std() > 0.1


def test_effective_pixels_count_an_even_look():
    even = torch.zeros(9)
    even[:4] = 0.25
    torch.testing.assert_close(effective_pixels(even), torch.tensor(4.0))
    torch.testing.assert_close(effective_pixels(torch.eye(5)), torch.ones(5))


def test_reach_of_an_even_look_and_of_one_at_oneself():
    even = reach(torch.full((7, 7, 7, 7), 1 / 49))
    assert even.own == pytest.approx(1 / 49)
    near = sum(min(i + 2, 6) - max(i - 2, 0) + 1 for i in range(7)) ** 2  # pairs at most two rows and columns apart
    assert even.far == pytest.approx(1 - near / 49**2)
    assert even.pixels == pytest.approx(49)
    assert reach(torch.eye(12).view(3, 4, 3, 4)) == pytest.approx((1, 0, 1))


def test_reach_of_corners_that_look_across_the_map():
    across = torch.eye(16).flip(1).view(4, 4, 4, 4)  # every pixel at the one opposite; 12 of 16 lie at the rim
    assert reach(across) == pytest.approx((0, 12 / 16, 1))
    mirrored = torch.eye(8).view(2, 4, 2, 4).flip(3)  # to the other side of 2 rows of 4: three columns on, or one
    assert reach(mirrored) == pytest.approx((0, 1 / 2, 1))


def test_without_the_scale_a_wide_head_settles_on_one_key():
    scaled, unscaled = saturation((1, 256), n_keys=8, n_queries=500)
    torch.testing.assert_close(scaled.largest[0], unscaled.largest[0])  # at d_k = 1 the scale is 1
    assert unscaled.largest[1] > 0.85
    assert unscaled.slope[1] < 0.15
    assert (scaled.largest < 0.6).all()
    assert (scaled.slope > 0.5).all()


def test_a_convolution_sees_its_neighbours_and_attention_sees_all():
    torch.manual_seed(0)
    x = torch.randn(1, 4, 9, 9, requires_grad=True)
    conv = nn.Conv2d(4, 4, 3, padding=1)
    near = influence(conv(x), x, (4, 2)) > 0
    assert near[3:6, 1:4].all()
    assert near.sum() == 9
    assert (influence(nn.Sequential(conv, conv)(x), x, (4, 4)) > 0).sum() == 25
    assert (influence(without_norm(AttentionBlock(4, n_groups=2))(x), x, (4, 2)) > 0).all()
    assert (influence(nn.GroupNorm(2, 4)(x), x, (4, 2)) > 0).all()  # a narrow door, but a door


def test_looks_are_those_of_the_blocks_and_the_answer_is_the_networks(unet, noisy):
    answer, maps = looks(unet, *noisy)
    inputs = attention_inputs(unet, *noisy)
    torch.testing.assert_close(answer, unet(*noisy).detach())
    assert list(maps) == list(attention_blocks(unet)) == ["down.2.attn", "middle.attn", "up.0.attn", "up.1.attn"]
    for name, weights in maps.items():
        assert weights.shape == (2, 2, 4, 6, 4, 6)
        torch.testing.assert_close(weights.sum((-2, -1)), torch.ones(2, 2, 4, 6))
        expected = attention_blocks(unet)[name].attention_map(inputs[name]).detach()
        torch.testing.assert_close(weights[:, :, 1, 2].flatten(2), expected[:, :, 8])


def test_a_block_without_its_norm_is_a_copy():
    block = lively_block(8)
    bare = without_norm(block)
    x = torch.randn(1, 8, 3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(bare(block.norm(x)) - block.norm(x), block(x) - x)
    assert isinstance(block.norm, nn.GroupNorm)


def test_a_frozen_norm_is_the_norm_at_home_and_a_straight_line_elsewhere():
    block = lively_block(8)
    x = torch.randn(1, 8, 3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    frozen = with_frozen_norm(block, x)
    at_0, at_1, at_4 = (frozen.norm(c * x) for c in (0, 1, 4))
    torch.testing.assert_close(frozen(x), block(x))
    torch.testing.assert_close(at_4 - at_0, 4 * (at_1 - at_0))
    assert isinstance(block.norm, nn.GroupNorm)


def test_without_a_border_a_shifted_image_gives_a_shifted_answer(unet, noisy):
    xt, t = noisy
    wrapped = without_border(unet)
    shifted = xt.roll((2, 6), (2, 3))
    torch.testing.assert_close(wrapped(shifted, t), wrapped(xt, t).roll((2, 6), (2, 3)), atol=1e-4, rtol=1e-4)
    assert (unet(shifted, t) - unet(xt, t).roll((2, 6), (2, 3))).abs().max() > 0.05


def test_cost_agrees_with_the_list_of_layers(unet):
    pairs, linear = attention_macs(4, 16, n_heads=2)
    found = {layer.name: layer.macs for layer in layers(unet, 8)}
    assert found["middle.attn"] == pairs
    assert found["middle.attn.projection"] + found["middle.attn.output"] == linear
