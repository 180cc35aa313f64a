"""Exercises of notebook 08: sizes, upsampling by hand, receptive fields, channels of the way up, and the up block."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ddpm_lesson.lesson.ch08_down_up_middle.experiments import conv_size
from ddpm_lesson.lesson.kit.exercise import Exercise, Mistake, numbers

check_conv_size = Exercise(
    solution=conv_size,
    cases=[
        (28, 3, 1, 1, 1),
        (28, 3, 2, 0, 1),
        (28, 3, 2, 1, 1),
        (9, 4, 2, 0, 0),
        (15, 5, 3, 2, 1),
        (32, 2, 2, 0, 0),
        (10, 3, 4, 1, 0),
    ],
    mistakes=(
        Mistake("no plus one", (" + 1", "")).says("""
            This looks like the number of steps that the window can take.
            A window that fits exactly takes no step at all. How many pixels come out?
            Count the place where the window starts as well: `+ 1`."""),
        Mistake("one padding forgotten", (" + after", "")).says("""
            This looks like padding in front only.
            Two paddings are given, and they need not be equal.
            Add `before` and `after` to `n`."""),
        Mistake("padding counted twice", ("before + after", "2 * before")).says("""
            This looks like `2 * before`, as if the padding were the same on both sides.
            Textbooks write 2p for symmetric padding. Here the two sides may differ.
            `before + after` instead of `2 * before`."""),
        Mistake("both paddings counted twice", ("before + after", "2 * (before + after)")).says("""
            This looks like twice the padding.
            `before` pixels are added in front, and `after` behind. How long is the row then?
            `n + before + after`."""),
        Mistake("padding forgotten", (" + before + after", "")).says("""
            This looks like the size without any padding.
            The window moves over the padded row.
            Replace `n` by `n + before + after`."""),
        Mistake("kernel forgotten", (" - kernel) // stride + 1", ") // stride")).says("""
            This looks like the padded size divided by the stride.
            The window must fit: where is the last place at which it can start?
            It can start at 0, s, 2s, ... up to `n + before + after - kernel`."""),
        Mistake("rounded up", ("- kernel)", "- kernel + stride - 1)")).says("""
            This looks like a division that rounds up.
            May the window hang over the edge of the padded row?
            A step that does not fit is not taken: round down with `//`."""),
        Mistake("not rounded", ("//", "/")).says("""
            This looks like a division that is not rounded.
            There are no half pixels.
            Use `//`, which rounds down."""),
        Mistake("rounded to the nearest", ("return (n", "return round((n", "// stride", "/ stride)")).says("""
            This looks like a division that rounds to the nearest whole number.
            May the window hang over the edge of the padded row?
            A step that does not fit is not taken: round down with `//`."""),
        Mistake("padding taken away", ("+ before + after", "- before - after")).says("""
            This looks like padding that was subtracted.
            Padding makes the row longer, and the window moves over the padded row.
            `n + before + after`. (It is a *transposed* convolution that takes its padding away.)"""),
        Mistake("stride forgotten", (" // stride", "")).says("""
            This looks like a window that moves by one pixel, whatever the stride.
            With a stride of 2 it stops at every second place only.
            Divide the last starting place by `stride` before you add 1."""),
        Mistake("divided too late", ("- kernel) // stride + 1", "- kernel + 1) // stride")).says("""
            This looks like the 1 added before the division.
            Try 9 pixels, kernel 4, stride 2, no padding: the window starts at 0, 2 and 4.
            Divide first, add 1 after."""),
    ),
    consequence="A 3x3 convolution of stride 2 halves 28 to 14 with padding on one side *or* on both. The size does "
    "not tell which; what the pixels see does.",
    tolerance=1e-6,
)


def upsample_nearest(x: Tensor) -> Tensor:
    """Each pixel as a block of 2 x 2, (B, C, H, W) -> (B, C, 2H, 2W)."""
    return x.repeat_interleave(2, 2).repeat_interleave(2, 3)


check_upsample_nearest = Exercise(
    solution=upsample_nearest,
    cases=[(numbers(*shape, seed=sum(shape)),) for shape in ((1, 1, 2, 1), (2, 3, 3, 4), (1, 2, 2, 5), (2, 1, 4, 3))],
    mistakes=(
        Mistake("tiled", lambda x: x.repeat(1, 1, 2, 2)).says("""
            This looks like the whole picture laid side by side four times.
            `repeat` in PyTorch repeats the picture. What must be repeated is each pixel.
            `repeat_interleave`, or an index such as 0, 0, 1, 1, 2, 2, ..."""),
        Mistake("height only", (".repeat_interleave(2, 3)", "")).says("""
            This looks like doubled rows, with the columns as they were.
            Both sides have to double.
            Do the same once more along the last axis."""),
        Mistake("width only", (".repeat_interleave(2, 2)", "")).says("""
            This looks like doubled columns, with the rows as they were.
            Both sides have to double.
            Do the same once more along axis 2."""),
        Mistake("bilinear", lambda x: F.interpolate(x, scale_factor=2, mode="bilinear")).says("""
            This looks like bilinear interpolation: new values between the old ones.
            Nearest means: every new pixel *is* an old one.
            Only copy, do not mix."""),
        Mistake("bilinear from corner to corner", lambda x: F.interpolate(x, None, 2, "bilinear", True)).says("""
            This looks like bilinear interpolation with the corners held in place.
            Nearest means: every new pixel *is* an old one.
            Only copy, do not mix."""),
        Mistake("zeros in between", lambda x: torch.kron(x, torch.tensor([[1.0, 0.0], [0.0, 0.0]]))).says("""
            This looks like the pixels set apart, with zeros in between.
            That is what a transposed convolution starts from. Here the gaps are filled with copies.
            Each pixel becomes a block of 2 x 2 equal pixels."""),
        Mistake("one pixel late", lambda x: upsample_nearest(x).roll((1, 1), (2, 3))).says("""
            This looks like the right blocks, moved by one pixel to the right and down.
            The new pixels 0 and 1 both copy the old pixel 0.
            New pixel y copies old pixel `y // 2`."""),
        Mistake("rounded up", lambda x: F.pad(upsample_nearest(x), (0, 1, 0, 1), "replicate")[..., 1:, 1:]).says("""
            This looks like a position that was rounded up instead of down.
            Which old pixel does the new pixel 1 copy?
            It copies old pixel 0: `y // 2` rounds down."""),
        Mistake("axes transposed", lambda x: upsample_nearest(x).mT).says("""
            This looks like rows and columns swapped.
            Axis 2 counts rows, axis 3 columns. Does your index keep them in order?
            Index axis 2 with the rows and axis 3 with the columns."""),
        Mistake("four times", lambda x: upsample_nearest(upsample_nearest(x))).says("""
            This looks like sides that are four times as long.
            Four times as many *pixels* means sides that are how many times as long?
            Twice: repeat each pixel twice along each of the two axes."""),
        Mistake("channels repeated", lambda x: x.repeat_interleave(2, 1).repeat_interleave(2, 2)).says("""
            This looks like axes 1 and 2 repeated: channels and rows.
            Images are (B, C, H, W). Which axes are height and width?
            Repeat along axes 2 and 3."""),
        Mistake(
            "scrambled by reshape", lambda x: x.repeat_interleave(4, 3).unflatten(3, (2, -1)).flatten(2, 3)
        ).says("""
            This looks like four copies of every pixel, in the wrong places.
            `reshape` keeps the order in memory; each new axis must stand directly behind the one it enlarges.
            `x[:, :, :, None, :, None]`, expanded to (B, C, H, 2, W, 2) and then reshaped. Or `repeat_interleave`."""),
        Mistake("a pixel's share", lambda x: upsample_nearest(x) / 4).says("""
            This looks like each pixel divided among its four copies.
            Brightness is no quantity to be shared out: a copy is as bright as the pixel.
            Leave the values as they are."""),
    ),
    consequence="Nothing is learned here, and nothing can go wrong: a constant image stays constant. The 3x3 "
    "convolution behind it does the learning.",
)


def receptive_field(layers: Sequence[tuple[int, int, int]]) -> int:
    """Side of the window that a pixel sees through layers of (kernel, stride, dilation)."""
    size, jump = 1, 1
    for kernel, stride, dilation in layers:
        size, jump = size + (kernel - 1) * dilation * jump, jump * stride
    return size


check_receptive_field = Exercise(
    solution=receptive_field,
    cases=[
        ([(3, 1, 1)],),
        ([(3, 1, 1), (3, 1, 2), (3, 1, 4)],),
        ([(3, 2, 1), (3, 2, 1), (3, 1, 1), (5, 1, 1)],),
        ([(3, 1, 1), (3, 2, 1), (3, 1, 3), (3, 2, 1), (3, 1, 1), (3, 1, 2)],),
        ([(7, 3, 1), (2, 2, 2), (4, 3, 1), (3, 2, 3)],),
        ([(3, 3, 2), (1, 1, 1), (3, 2, 1), (5, 3, 1)],),
    ],
    mistakes=(
        Mistake(
            "kernels added", ("size, jump = 1", "size, jump = 0", "(kernel - 1) * dilation * jump", "kernel")
        ).says("""
            This looks like the kernels added up.
            Two 3x3 convolutions see 5 pixels, not 6: neighbouring windows overlap.
            Start at 1. Every layer adds `(kernel - 1) * dilation`, times the jump."""),
        Mistake("jump forgotten", (" * dilation * jump", " * dilation")).says("""
            This looks like a stack without any stride.
            After a stride of 2, how many pixels of the *input* lie between two neighbours?
            Every layer adds `(kernel - 1) * dilation * jump`, and the jump is the product of all strides before."""),
        Mistake("own stride too early", ("dilation * jump", "dilation * jump * stride")).says("""
            This looks like a layer's own stride counted in its own window.
            The stride of a layer moves its window from one output to the next. Does it make one window larger?
            Update the size with the old jump, and only then multiply the jump by the stride."""),
        Mistake("last stride only", ("jump * stride", "stride")).says("""
            This looks like the stride of the layer before in place of the product of all.
            After two layers of stride 2, neighbours lie 4 pixels of the input apart.
            `jump = jump * stride`."""),
        Mistake("strides added", ("jump * stride", "jump + stride - 1")).says("""
            This looks like strides that were added up.
            A stride of 2 on top of a stride of 3 makes a jump of ...?
            They multiply: `jump = jump * stride`."""),
        Mistake("started at zero", ("size, jump = 1", "size, jump = 0")).says("""
            This looks one too small everywhere.
            With no layers at all, how many pixels does a pixel see?
            Itself: start at 1."""),
        Mistake("whole kernel", ("(kernel - 1)", "kernel")).says("""
            This looks like `kernel`, not `kernel - 1`, steps added in every layer.
            A 1x1 convolution adds nothing to the window. What does your formula add?
            `(kernel - 1) * dilation * jump`."""),
        Mistake("half the kernel", ("(kernel - 1)", "(kernel // 2)")).says("""
            This looks like a window that grows on one side only.
            A kernel of 3 adds a neighbour on the left *and* on the right.
            Add `kernel - 1`, not `kernel // 2`."""),
        Mistake("one more taken off", ("(kernel - 1) * dilation * jump", "kernel * dilation * jump - 1")).says("""
            This looks like `kernel * dilation * jump - 1` added in every layer.
            A 1x1 convolution adds nothing, whatever the jump is. What does your formula add at a jump of 4?
            The kernel's last pixel lies `kernel - 1` taps from its first, and each tap is `dilation * jump` further:
                `(kernel - 1) * dilation * jump`."""),
        Mistake("odd kernels only", ("(kernel - 1)", "2 * (kernel // 2)")).says("""
            This looks like half a kernel on the left and half a kernel on the right.
            That is right for odd kernels. How many neighbours does a kernel of 4 add in all?
            `(kernel - 1) * dilation * jump`, for even kernels too."""),
        Mistake("stride added to the jump", ("jump * stride", "jump + stride")).says("""
            This looks like `jump + stride`.
            A layer of stride 1 leaves the distance of neighbours as it is. What does yours do?
            They multiply: `jump = jump * stride`."""),
        Mistake("backwards", ("in layers", "in reversed(layers)")).says("""
            This looks like the layers taken from the last to the first, or the backward recursion `(r - 1) * s + k`,
                run from the front.
            The strides that count for a layer are those *before* it, nearer to the input.
            Go through the list as it is: the first layer first. Or, with the backward recursion, run it from the
                last layer."""),
        Mistake("dilation forgotten", ("dilation * jump", "jump")).says("""
            This looks like (8.1) as it stands, for taps that lie side by side.
            With a dilation of 2 a kernel of 3 takes pixels 0, 2 and 4. How many pixels does it reach over?
            From the first tap to the last it is `(kernel - 1) * dilation` places, each a jump."""),
        Mistake("dilated kernel", ("(kernel - 1) * dilation", "(kernel * dilation - 1)")).says("""
            This looks like a kernel that is `dilation` times as long.
            There are gaps between taps, but is there one behind the last?
            From the first tap to the last it is `(kernel - 1) * dilation` places, each a jump."""),
        Mistake("dilation in the jump", ("jump * stride", "jump * stride * dilation")).says("""
            This looks like a dilation that moves neighbours apart.
            It spreads the taps of one window. What moves the window from one output to the next?
            The stride alone: `jump = jump * stride`."""),
        Mistake("area", ("return size", "return size**2")).says("""
            This looks like the number of pixels in the whole window.
            Right, but asked for is the length of its side.
            Do not square."""),
        Mistake("the jump", ("return size", "return jump")).says("""
            This looks like the product of the strides.
            That is the jump, the distance of neighbours. The window grows even without any stride.
            Keep two numbers, size and jump, and update both."""),
    ),
    consequence="The jump doubles with every level, so the same 3x3 convolution sees twice as far at a quarter of the "
    "price.",
    tolerance=1e-6,
)


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


def up_block_case(channels: int, seed: int) -> tuple[Any, ...]:
    """Stand-ins, and two maps of one shape, so that wrong ways to join them go unnoticed."""
    g = torch.Generator().manual_seed(seed)
    x, skip = torch.randn(2, 2, channels, 4, 6, generator=g)
    return toy_res, toy_attn, x, skip, torch.randn(2, 8, generator=g)


check_up_block = Exercise(
    solution=up_block,
    cases=[up_block_case(3, 0), up_block_case(4, 1), up_block_case(1, 2)],
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
        Mistake("along the batch", ("skip), 1", "skip)", "(h, t_emb)", "(h, t_emb.repeat(2, 1))")).says("""
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
        Mistake(
            "attention before the skip", ("(x, skip)", "(attn(x), skip)", "attn(res(h, t_emb))", "res(h, t_emb)")
        ).says("""
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
