"""The residual block taken apart: normalisation, surviving shift, gradients, and short trainings."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from ddpm_lesson import load_images
from ddpm_lesson.lesson.ch06_residual_block.experiments import (
    PARTS,
    BlockStack,
    busiest,
    gradient_flow,
    gradients,
    group_norm,
    look_inside,
    residual_blocks,
    shifts,
    short_training,
    spread_loss,
    surviving_shift,
)
from ddpm_lesson.unet import ResidualBlock, UNet


@pytest.fixture
def unet():
    torch.manual_seed(0)
    model = UNet(1, 8, (1, 2), (False, False), 1, n_groups=2)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.3)
    return model.eval()


@pytest.mark.parametrize("n_groups", [1, 2, 3, 6])
def test_group_norm_equals_pytorch(n_groups):
    x = 5 + 3 * torch.randn(4, 6, 5, 7, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(group_norm(x, n_groups, 1e-3), F.group_norm(x, n_groups, eps=1e-3))


def test_group_norm_of_equal_values_is_zero():
    assert not group_norm(torch.full((2, 4, 3, 3), 7.0), 2).any()


def test_only_the_surviving_part_of_a_shift_is_seen():
    h, s = torch.randn(2, 8, 4, 4), torch.randn(2, 8)
    whole, part = (F.group_norm(h + v[:, :, None, None], 4) for v in (s, surviving_shift(s, 4)))
    torch.testing.assert_close(whole, part, atol=1e-5, rtol=1e-5)
    assert surviving_shift(s, 4).view(2, 4, 2).sum(2).abs().max() < 1e-6
    assert not surviving_shift(s, 8).any()


def test_block_with_one_channel_a_group_is_deaf_to_the_time():
    x, early, late = torch.randn(2, 6, 5, 5), torch.randn(2, 16), torch.randn(2, 16)
    deaf, hearing = (ResidualBlock(6, 6, 16, n_groups=g, dropout=0.0) for g in (6, 3))
    torch.testing.assert_close(deaf(x, early), deaf(x, late), atol=1e-5, rtol=1e-5)
    assert (hearing(x, early) - hearing(x, late)).abs().max() > 1e-2


def test_block_equals_diffusers():
    resnet = pytest.importorskip("diffusers.models.resnet", reason="diffusers is not installed")
    for channels in ((8, 8), (8, 16)):
        ours = ResidualBlock(*channels, 12, n_groups=4, dropout=0.0).eval()
        theirs = resnet.ResnetBlock2D(
            in_channels=channels[0], out_channels=channels[1], temb_channels=12, groups=4, eps=1e-6
        ).eval()
        names = {"time_emb": "time_emb_proj", "shortcut": "conv_shortcut"}
        weights = {}
        for name, tensor in ours.state_dict().items():
            module, kind = name.rsplit(".", 1)
            weights[f"{names.get(module, module)}.{kind}"] = tensor
        theirs.load_state_dict(weights)
        x, t_emb = torch.randn(3, 8, 6, 6), torch.randn(3, 12)
        torch.testing.assert_close(ours(x, t_emb), theirs(x, t_emb), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("k", [2, 3, 4, 8])
def test_no_shift_pushes_a_channels_mean_beyond_the_root_of_its_partners_number(k):
    h = torch.randn(1, k, 8, 8, generator=torch.Generator().manual_seed(0))
    means = []
    for shift in (-3.0, -1000.0):
        pushed = h.clone()
        pushed[:, 0] += shift
        means.append(group_norm(pushed, 1).mean((2, 3)).abs().max())
    assert means[0] < means[1] <= (k - 1) ** 0.5 + 1e-5
    assert means[1] == pytest.approx((k - 1) ** 0.5, rel=1e-3)


# The stack


@pytest.mark.parametrize("part", PARTS)
def test_each_part_can_be_taken_away(part):
    xt, t = torch.randn(3, 1, 8, 8), torch.tensor([0, 500, 999])
    stack = BlockStack(8, 2, 4, without=[part])
    for p in stack.parameters():
        p.data += 0.1 * torch.randn(p.shape)
    assert stack(xt, t).shape == xt.shape
    for block in stack.blocks:
        assert isinstance(block.norm1, nn.Identity) == (part == "norm")
        assert isinstance(block.shortcut, nn.Identity) == (part != "shortcut")
    assert torch.allclose(stack(xt, t), stack(xt, t.flip(0)), atol=1e-6) == (part == "time")


def test_second_convolutions_are_silent_unless_that_would_end_everything():
    silent = {part: not BlockStack(8, 1, 4, without=[part]).blocks[0].conv2.weight.any() for part in PARTS}
    assert silent == {"norm": True, "time": True, "shortcut": False, "silence": False}


def test_unknown_part_is_named():
    with pytest.raises(ValueError, match="without must name parts among norm, time, shortcut, silence; got attention"):
        BlockStack(without=["attention"])


def test_stacks_of_one_seed_start_alike_and_leave_the_callers_chance_alone():
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    one, other = BlockStack(8, 2, 4), BlockStack(8, 2, 4, without=["norm"])
    assert torch.rand(1) == expected
    assert torch.equal(one.blocks[1].conv1.weight, other.blocks[1].conv1.weight)
    assert not torch.equal(one.image_proj.weight, BlockStack(8, 2, 4, seed=1).image_proj.weight)


# Gradients


def test_gradients_are_those_of_the_loss():
    stack = BlockStack(8, 3, 4, without=["silence"])
    x, t_emb, signal = torch.randn(2, 8, 4, 4), torch.randn(2, 32), torch.randn(2, 8, 4, 4)
    found = gradients(stack.blocks, x, t_emb, signal)
    assert len(found) == 4
    assert torch.equal(found[-1], signal)

    def loss(x):
        for block in stack.blocks:
            x = block(x, t_emb)
        return (x * signal).sum()

    x.requires_grad_()
    torch.testing.assert_close(found[0], torch.autograd.grad(loss(x), x)[0])


def test_gradient_passes_silent_blocks_unchanged():
    size, cosine = gradient_flow(BlockStack(8, 5, 4))
    torch.testing.assert_close(size, torch.ones(6))
    torch.testing.assert_close(cosine, torch.ones(6).double())


def test_norm_keeps_the_size_of_gradients_and_the_shortcut_their_direction():
    flow = {w: gradient_flow(BlockStack(16, 16, 8, without=w)) for w in [("silence",), ("shortcut",), PARTS[::2]]}
    size, cosine = zip(*flow.values(), strict=True)
    assert 0.3 < size[0][0] < 10
    assert 0.3 < size[1][0] < 10
    assert cosine[0][0] > 0.95
    assert cosine[1][0] < 0.75


def test_without_norm_and_shortcut_the_gradient_vanishes():
    size, _ = gradient_flow(BlockStack(16, 16, 8, without=["shortcut", "norm"]))
    assert size[0] < 1e-4


# Training


def test_short_training_learns_and_repeats():
    images = load_images("digits", "train")[:64]
    runs = [list(short_training(BlockStack(8, 2, 4), images, 25, batch_size=8)) for _ in range(2)]
    assert runs[0] == runs[1]
    assert runs[0][0] == pytest.approx(1, abs=0.2)
    assert sum(runs[0][-5:]) < 0.7 * sum(runs[0][:5])


def test_silent_network_has_loss_one():
    assert spread_loss(BlockStack(8, 2, 4), load_images("digits", "test")[:200]) == pytest.approx(1, abs=0.03)


def test_perfect_answer_has_loss_zero():
    images = torch.zeros(50, 1, 4, 4)

    def exact(xt, t):
        from ddpm_lesson import NoiseSchedule

        return xt / (1 - NoiseSchedule.linear().alpha_bar[t]).sqrt()[:, None, None, None]

    assert spread_loss(exact, images) == pytest.approx(0, abs=1e-6)


# A look inside


def test_look_inside_shows_the_steps_of_the_block(unet):
    xt, t = torch.randn(3, 1, 8, 8), torch.tensor([5, 100, 900])
    view = look_inside(unet, xt, t, ["down.0.res"])["down.0.res"]
    block = unet.down[0].res
    torch.testing.assert_close(view.seen, F.silu(block.norm2(view.after)))
    torch.testing.assert_close(view.answer, block.conv2(view.seen) + unet.image_proj(xt))
    torch.testing.assert_close(view.shift, shifts(unet, block, 1000)[t])


def test_every_residual_block_is_found(unet):
    assert len(residual_blocks(unet)) == 2 + 2 + 4


def test_busiest_channels_are_those_that_vary_most():
    time = torch.linspace(0, 1, 50)
    shift = torch.stack([0 * time + 9, 5 * time, time, -3 * time], 1)
    assert busiest(shift, 2) == [1, 3]
