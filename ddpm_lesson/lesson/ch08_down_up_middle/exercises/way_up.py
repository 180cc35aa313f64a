"""Channels of the way up, and the up block."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from ddpm_lesson.lesson.kit.exercise import Exercise, Mistake


def up_channels(n_channels: int, ch_mults: Sequence[int], n_blocks: int) -> list[int]:
    """Channels that enter each up block, with the widths kept as the network keeps its feature maps."""
    widths, kept, last = [n_channels * m for m in ch_mults], [], n_channels
    for width in widths:
        kept += [last] + [width] * n_blocks  # what arrives at the level, then what its blocks make
        last = width
    entering = []
    for width in reversed(widths):
        for _ in range(n_blocks + 1):
            entering.append(last + kept.pop())
            last = width
    return entering


check_up_channels = Exercise(
    solution=up_channels,
    cases=[(24, (1, 2, 4), 1), (32, (1, 2), 1), (128, (1, 2, 2, 2), 2), (64, (1, 2, 2, 4), 2), (16, (3, 1, 2), 3)],
    mistakes=(
        Mistake("taken from the front", ("pop()", "pop(0)")).says("""
            This looks like the kept maps taken in the order in which they were made.
            The first map that was kept has the full resolution. Which one does the lowest level need?
            Last in, first out: `kept.pop()`."""),
        Mistake("image_proj forgotten", ("[], n_channels", "[], 0")).says("""
            This looks like a stack without the very first map, the one that `image_proj` makes.
            Count: are there as many kept maps as up blocks? What does the last up block get?
            Start with `kept = [n_channels]`."""),
        Mistake("Downsample outputs forgotten", ("[], n", "[0, 0, 0, n_channels], n", "[last] + ", "")).says("""
            This looks like a stack that keeps what the blocks make, but not what the `Downsample`s make.
            In `UNet.forward`, after which modules of the way down is `x` appended?
            After all of them. A `Downsample` keeps the channels of its level."""),
        Mistake("n_blocks for n_blocks + 1", ("n_blocks + 1", "n_blocks")).says("""
            This looks like `n_blocks` up blocks a level.
            On the way down a level makes `n_blocks` maps, and one more comes from `image_proj` or a `Downsample`.
            `n_blocks + 1` up blocks a level, so that every kept map is taken."""),
        Mistake("compounding", ("in ch_mults", "in torch.tensor(ch_mults).cumprod(0).tolist()")).says("""
            This looks like multipliers that multiply the width of the level above.
            What is (1, 2, 2, 4) on 64: widths 64, 128, 128, 256, or 64, 128, 256, 1024?
            Each level is `n_channels * m`, whatever the level above is."""),
        Mistake("below alone", ("last + kept.pop()", "last")).says("""
            This looks like what comes from below, without the skip.
            What does `torch.cat` along the channels do to their number?
            Add the channels of the kept map."""),
        Mistake("twice the width", ("last + kept.pop()", "2 * width")).says("""
            This looks like twice the level's width for every block.
            That is right in the middle of a level. What comes from below in its first block, and across in its last?
            The first block of a level gets the width of the level below; the last one's skip has the width of the
                level above."""),
        Mistake("own level below", ("last + kept.pop()", "width + kept.pop()")).says("""
            This looks right except for the first block of a level, where what comes from below is of another width.
            `Upsample` keeps the channels. How many does the level below have? Narrowing in the last block is labml's
                way; here it happens after upsampling.
            Carry the width of the last block on into the next level: `below` changes only after a block."""),
        Mistake("every skip of the level's width", ("kept.pop()", "width")).says("""
            This looks right except for the last block of a level, whose skip is of another width.
            The last kept map of a level is the one that arrived there. Who made it, and how wide? (Or did you keep the
                map of a `Downsample` behind the lowest level, too? Then all skips are one place off.)
            `image_proj` or the `Downsample` of the level above: its width is that of the level above. Behind the lowest
                level there is no `Downsample`."""),
        Mistake("arrival taken first", ("[last] + [width] * n_blocks", "[width] * n_blocks + [last]")).says("""
            This looks like the right skips of every level, in the order in which they were made.
            On the way down the map that *arrives* at a level is kept first. When is it taken?
            Last in, first out within a level too: the arrival's turn comes in the level's last block."""),
        Mistake("Downsample widens", ("[last] +", "[width if kept else last] +")).says("""
            This looks like a `Downsample` that widens to the next level.
            Who changes the number of channels on the way down: the `Downsample`, or the first block after it?
            A `Downsample` keeps the channels of its level."""),
        Mistake("from the top", ("return entering", "return entering[::-1]")).says("""
            This looks right, but from the last up block to the first.
            The way up starts at the lowest level.
            List the blocks in the order in which they run."""),
    ),
    consequence="Every kept map is taken exactly once. If a single count were off, the network would stop with an "
    "error at its first image: this bookkeeping cannot go wrong quietly.",
    tolerance=1e-6,
)


def up_block(res: Callable[..., Tensor], attn: Callable[..., Tensor], x: Tensor, skip: Tensor, t_emb: Tensor) -> Tensor:
    """``UpBlock.forward``."""
    h = torch.cat((x, skip), 1)
    return attn(res(h, t_emb))


def toy_res(x: Tensor, t_emb: Tensor) -> Tensor:
    """A stand-in for a residual block that works with any number of channels and notices their order and the time."""
    weight = torch.linspace(-1, 2, x.shape[1]).view(1, -1, 1, 1)
    return (x * weight).cumsum(1).tanh() + t_emb.mean(1).view(-1, 1, 1, 1)


def toy_attn(x: Tensor) -> Tensor:
    """A stand-in for attention: every pixel learns of the mean, and large values count less."""
    return x / (1 + x.abs()) + x.mean((2, 3), keepdim=True)


def up_block_case(images: int, channels: int, seed: int) -> tuple[Any, ...]:
    """Stand-ins, and two maps of one shape, so that wrong ways to join them go unnoticed; one image fits two."""
    g = torch.Generator().manual_seed(seed)
    x, skip = torch.randn(2, images, channels, 4, 6, generator=g)
    return toy_res, toy_attn, x, skip, torch.randn(images, 8, generator=g)


check_up_block = Exercise(
    solution=up_block,
    cases=[up_block_case(2, 3, 0), up_block_case(1, 4, 1), up_block_case(1, 1, 2)],
    mistakes=(
        Mistake("skip first", ("(x, skip)", "(skip, x)")).says("""
            This looks like the skip in front of what comes from below.
            Either order can be learned. But trained weights expect one: which does `UpBlock` use?
            `torch.cat((x, skip), dim=1)`."""),
        Mistake("added", ("torch.cat((x, skip), 1)", "x + skip")).says("""
            This looks like the two maps added up.
            A sum needs equal numbers of channels, and forgets which part came from where.
            Lay them side by side: `torch.cat` along the channels."""),
        Mistake("along the rows", ("skip), 1", "skip), 2")).says("""
            This looks like one map below the other: concatenated along axis 2.
            Images are (B, C, H, W). Which axis holds the channels?
            `dim=1`."""),
        Mistake("along the columns", ("skip), 1", "skip), 3")).says("""
            This looks like the maps side by side: concatenated along axis 3.
            Images are (B, C, H, W). Which axis holds the channels?
            `dim=1`."""),
        Mistake("along the batch", ("skip), 1", "skip)")).says("""
            This looks like twice as many images: concatenated along axis 0.
            `torch.cat` without a `dim` joins along the batch.
            `dim=1`, the channels."""),
        Mistake("skip forgotten", ("torch.cat((x, skip), 1)", "x")).says("""
            This looks like a block that never looks at `skip`.
            What distinguishes an up block from a down block?
            Join `x` and `skip` first."""),
        Mistake("x forgotten", ("torch.cat((x, skip), 1)", "skip")).says("""
            This looks like a block that never looks at `x`.
            What came from below would be lost.
            Join `x` and `skip` first."""),
        Mistake("joined after the block", ("(x, skip)", "(res(x, t_emb), skip)", "res(h, t_emb)", "h")).says("""
            This looks like the skip joined after the residual block.
            Who is to make something of both maps together?
            Join first, and give the joined map to `res`."""),
        Mistake("attention forgotten", ("attn(res(h, t_emb))", "res(h, t_emb)")).says("""
            This looks like the residual block alone.
            On levels with attention something comes after it.
            `attn(res(..., t_emb))`. Where there is none, `attn` is the identity."""),
        Mistake("attention first", ("attn(res(h, t_emb))", "res(attn(h), t_emb)")).says("""
            This looks like attention before the residual block.
            In which order does `DownBlock` do it?
            The residual block first."""),
        Mistake("attention before the skip", ("(x,", "(attn(x),", "attn(res(h, t_emb))", "res(h, t_emb)")).says("""
            This looks like attention on what comes from below, before the skip has joined it.
            What comes out of the block last?
            Join, then `res`, then `attn`: `attn(res(torch.cat((x, skip), dim=1), t_emb))`."""),
        Mistake("attention added", ("attn(res(h, t_emb))", "attn(h := res(h, t_emb)) + h")).says("""
            This looks like the attention's answer added to its input.
            `AttentionBlock` adds its input itself.
            Return what `attn` returns."""),
    ),
    consequence="Concatenation is the more general of the two: a convolution that weighs both halves alike *is* a "
    "convolution of their sum, (8.7).",
)
