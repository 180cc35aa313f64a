"""The exercises of notebook 09 accept every right answer and recognise every mistake they know."""

import pytest
import torch
from torch import nn

from ddpm_lesson.lesson.ch09_unet.exercises import check_kept_maps, check_through_the_u, check_widths
from ddpm_lesson.lesson.ch09_unet.exercises.levels import kept_maps
from ddpm_lesson.lesson.ch09_unet.exercises.loop import calls_of, small_u, through_the_u
from ddpm_lesson.lesson.ch09_unet.exercises.parameters import residual_parameters
from ddpm_lesson.lesson.kit.exercise import edited
from ddpm_lesson.unet import DownBlock, ResidualBlock, UNet, UpBlock, Upsample


def test_solutions_agree_with_the_package():
    for mults, n_blocks in (((1, 2, 4), 1), ((1, 1), 3), ((2,), 2)):
        unet = UNet(1, 16, mults, (False,) * len(mults), n_blocks, n_groups=8)
        blocks = [m for m in unet.down if isinstance(m, DownBlock)]
        widths = [blocks[i * n_blocks].res.conv1.out_channels for i in range(len(mults))]
        assert check_widths.solution(16, mults).tolist() == widths
        count, divisor = kept_maps(len(mults), n_blocks)
        assert count == len(unet.down) + 1 == sum(isinstance(m, UpBlock) for m in unet.up)
        unet(torch.zeros(1, 1, divisor, 3 * divisor), torch.zeros(1))
        if divisor > 1:
            with pytest.raises(ValueError, match=f"divisible by {divisor};|divisible by {divisor},"):
                unet(torch.zeros(1, 1, divisor, divisor // 2), torch.zeros(1))


@pytest.mark.parametrize(("c_in", "c_out"), [(8, 8), (8, 16), (48, 16)])
def test_parameters_are_those_of_the_live_block(c_in, c_out):
    block = ResidualBlock(c_in, c_out, 24, n_groups=8)
    assert residual_parameters(c_in, c_out, 24) == sum(p.numel() for p in block.parameters())


def through_the_networks_own_forward(x, t_emb, down, middle, up):
    """``UNet.forward`` itself, with nothing before and after the U."""
    unet = UNet(1, 8, (1,), (False,), 1, n_groups=8)
    unet.image_proj, unet.time_emb, unet.norm, unet.act, unet.final = (nn.Identity() for _ in range(5))
    unet.down, unet.middle, unet.up = down, middle, up
    unet.check_input = lambda *_: None
    return unet(x, t_emb)


def with_a_deque_and_keywords(x, t_emb, down, middle, up):
    kept = [x]
    for module in down:
        x = module(t_emb=t_emb, x=x) if isinstance(module, DownBlock) else module(x)
        kept = [x, *kept]
    x = middle(t_emb=t_emb, x=x)
    for module in up:
        if isinstance(module, Upsample):
            x = module(x)
        else:
            skip, *kept = kept
            x = module(x, t_emb=t_emb, skip=skip)
    return x


@pytest.mark.parametrize("loop", [through_the_networks_own_forward, with_a_deque_and_keywords])
def test_right_loops_of_any_form_pass(loop):
    assert check_through_the_u(loop).passed


def loop(*pieces):
    """The right loop with pieces of its source replaced: old, new, old, new, ..."""
    return edited(through_the_u, *pieces)


DOWN = "module(x) if isinstance(module, Downsample) else module(x, t_emb)"
KEPT_ABOVE = ("kept = [x]", "kept = []", "        kept.append(x)\n", "", f"x = {DOWN}", f"kept.append(x); x = {DOWN}")


def tried_and_without_return(x, t_emb, down, middle, up):
    """A wrong loop that tries every call and recovers, and answers nothing."""
    kept = [x]
    for module in down:
        try:
            x = module(x, t_emb)
        except TypeError:
            x = module(x)
        kept.append(x)
    x = middle(x, t_emb)
    for module in up:
        try:
            x = module(x, kept[-1], t_emb)
        except TypeError:
            x = module(x)


@pytest.mark.parametrize(
    ("wrong", "name"),
    [
        (loop(*KEPT_ABOVE), "kept before the module"),
        (loop(DOWN, "module(x, t_emb) if isinstance(module, Downsample) else module(x)"), "no time on the way down"),
        (loop("module(x, kept.pop(), t_emb)", "module(skip=x, x=kept.pop(), t_emb=t_emb)"), "the other side"),
        (tried_and_without_return, "always the last"),
    ],
)
def test_a_learners_loop_that_fails_on_its_way_is_recognised(wrong, name):
    assert check_through_the_u(wrong).misconception == name


def test_an_unknown_mistake_is_told_by_its_first_wrong_call():
    result = check_through_the_u(loop("middle(x, t_emb)", "middle(middle(x, t_emb), t_emb)"))
    assert not result.passed
    assert result.misconception is None
    assert "calls `middle` with (map 3, t_emb) where `up[0]` with (map 3, map 2, t_emb) comes next" in result.message


def test_a_return_inside_the_loop_is_asked_for():
    early = loop("    return x", "        return x")
    assert "stops after `up[0]`; `up[1]` comes next. Is `return` inside the loop?" in check_through_the_u(early).message


def test_an_error_in_a_loop_whose_calls_are_right_so_far_is_told():
    def failing(x, t_emb, down, middle, up):
        down[0](x, t_emb)
        raise KeyError("oops")

    assert "stopped with KeyError: 'oops'" in check_through_the_u(failing).message


def test_two_wrong_numbers_are_judged_each_by_itself():
    result = check_kept_maps(lambda n_levels, n_blocks: (n_levels * n_blocks, 2 * (n_levels - 1)))
    assert result.misconception == "blocks only"
    assert check_kept_maps(lambda n_levels, n_blocks: (-1, 2 * (n_levels - 1))).misconception == "halvings added"
    assert "Your turn" in check_kept_maps(lambda n_levels, n_blocks: ...).message


def test_calls_number_the_maps_in_the_order_they_are_made():
    case = small_u((1,), 1, 4, seed=0)
    assert calls_of(through_the_u, case) == [(0, 0, -2), (1, 1, -2), (2, 2, 1, -2), (3, 3, 0, -2)]


def test_a_right_loop_with_a_wrong_result_is_not_called_a_known_mistake():
    result = check_through_the_u(lambda *case: 2 * through_the_u(*case))
    assert not result.passed
    assert result.misconception is None
    assert "is right" in result.message
