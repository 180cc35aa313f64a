"""Exercises of notebook 08: sizes, upsampling by hand, receptive fields, channels of the way up, and the up block."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ddpm_lesson.lesson.ch08_down_up_middle.experiments import conv_size, receptive_fields, up_channels
from ddpm_lesson.lesson.kit.exercise import Exercise, Mistake

# conv_size

check_conv_size = Exercise(
    function="conv_size",
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
        Mistake(
            "no plus one", lambda n, kernel, stride, before, after: (n + before + after - kernel) // stride
        ).says("""
            This looks like the number of steps that the window can take.
            A window that fits exactly takes no step at all. How many pixels come out?
            Count the place where the window starts as well: `+ 1`."""),
        Mistake(
            "one padding forgotten", lambda n, kernel, stride, before, after: (n + before - kernel) // stride + 1
        ).says("""
            This looks like padding in front only.
            Two paddings are given, and they need not be equal.
            Add `before` and `after` to `n`."""),
        Mistake(
            "padding counted twice", lambda n, kernel, stride, before, after: (n + 2 * before - kernel) // stride + 1
        ).says("""
            This looks like `2 * before`, as if the padding were the same on both sides.
            Textbooks write 2p for symmetric padding. Here the two sides may differ.
            `before + after` instead of `2 * before`."""),
        Mistake(
            "both paddings counted twice",
            lambda n, kernel, stride, before, after: (n + 2 * (before + after) - kernel) // stride + 1,
        ).says("""
            This looks like twice the padding.
            `before` pixels are added in front, and `after` behind. How long is the row then?
            `n + before + after`."""),
        Mistake("padding forgotten", lambda n, kernel, stride, before, after: (n - kernel) // stride + 1).says("""
            This looks like the size without any padding.
            The window moves over the padded row.
            Replace `n` by `n + before + after`."""),
        Mistake("kernel forgotten", lambda n, kernel, stride, before, after: (n + before + after) // stride).says("""
            This looks like the padded size divided by the stride.
            The window must fit: where is the last place at which it can start?
            It can start at 0, s, 2s, ... up to `n + before + after - kernel`."""),
        Mistake(
            "rounded up", lambda n, kernel, stride, before, after: -(-(n + before + after - kernel) // stride) + 1
        ).says("""
            This looks like a division that rounds up.
            May the window hang over the edge of the padded row?
            A step that does not fit is not taken: round down with `//`."""),
        Mistake(
            "not rounded", lambda n, kernel, stride, before, after: (n + before + after - kernel) / stride + 1
        ).says("""
            This looks like a division that is not rounded.
            There are no half pixels.
            Use `//`, which rounds down."""),
        Mistake(
            "rounded to the nearest",
            lambda n, kernel, stride, before, after: round((n + before + after - kernel) / stride) + 1,
        ).says("""
            This looks like a division that rounds to the nearest whole number.
            May the window hang over the edge of the padded row?
            A step that does not fit is not taken: round down with `//`."""),
        Mistake(
            "padding taken away", lambda n, kernel, stride, before, after: (n - before - after - kernel) // stride + 1
        ).says("""
            This looks like padding that was subtracted.
            Padding makes the row longer, and the window moves over the padded row.
            `n + before + after`. (It is a *transposed* convolution that takes its padding away.)"""),
        Mistake("stride forgotten", lambda n, kernel, stride, before, after: n + before + after - kernel + 1).says("""
            This looks like a window that moves by one pixel, whatever the stride.
            With a stride of 2 it stops at every second place only.
            Divide the last starting place by `stride` before you add 1."""),
        Mistake(
            "divided too late", lambda n, kernel, stride, before, after: (n + before + after - kernel + 1) // stride
        ).says("""
            This looks like the 1 added before the division.
            Try 9 pixels, kernel 4, stride 2, no padding: the window starts at 0, 2 and 4.
            Divide first, add 1 after."""),
    ),
    consequence="A 3x3 convolution of stride 2 halves 28 to 14 with padding on one side *or* on both. The size does "
    "not tell which; what the pixels see does.",
    tolerance=1e-6,
)

# upsample_nearest


def upsampled(rows: int = 2, columns: int = 2) -> Callable[[Tensor], Tensor]:
    """Nearest upsampling by whole factors."""
    return lambda x: x.repeat_interleave(rows, 2).repeat_interleave(columns, 3)


def bed_of_nails(x: Tensor) -> Tensor:
    """Zeros between the pixels."""
    large = x.new_zeros(*x.shape[:2], 2 * x.shape[2], 2 * x.shape[3])
    large[:, :, ::2, ::2] = x
    return large


def scrambled(x: Tensor) -> Tensor:
    """Both new axes behind the columns, so that the copies of one pixel end up in one row."""
    B, C, H, W = x.shape
    return x[..., None, None].expand(*x.shape, 2, 2).reshape(B, C, 2 * H, 2 * W)


check_upsample_nearest = Exercise(
    function="upsample_nearest",
    solution=upsampled(),
    cases=[
        (torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape))),)
        for shape in ((1, 1, 2, 2), (2, 3, 3, 3), (1, 2, 2, 5), (2, 1, 4, 3))
    ],
    mistakes=(
        Mistake("tiled", lambda x: x.repeat(1, 1, 2, 2)).says("""
            This looks like the whole picture laid side by side four times.
            `repeat` in PyTorch repeats the picture. What must be repeated is each pixel.
            `repeat_interleave`, or an index such as 0, 0, 1, 1, 2, 2, ..."""),
        Mistake("height only", upsampled(columns=1)).says("""
            This looks like doubled rows, with the columns as they were.
            Both sides have to double.
            Do the same once more along the last axis."""),
        Mistake("width only", upsampled(rows=1)).says("""
            This looks like doubled columns, with the rows as they were.
            Both sides have to double.
            Do the same once more along axis 2."""),
        Mistake("bilinear", lambda x: F.interpolate(x, scale_factor=2, mode="bilinear")).says("""
            This looks like bilinear interpolation: new values between the old ones.
            Nearest means: every new pixel *is* an old one.
            Only copy, do not mix."""),
        Mistake(
            "bilinear from corner to corner",
            lambda x: F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True),
        ).says("""
            This looks like bilinear interpolation with the corners held in place.
            Nearest means: every new pixel *is* an old one.
            Only copy, do not mix."""),
        Mistake("zeros in between", bed_of_nails).says("""
            This looks like the pixels set apart, with zeros in between.
            That is what a transposed convolution starts from. Here the gaps are filled with copies.
            Each pixel becomes a block of 2 x 2 equal pixels."""),
        Mistake("one pixel late", lambda x: upsampled()(x).roll((1, 1), (2, 3))).says("""
            This looks like the right blocks, moved by one pixel to the right and down.
            The new pixels 0 and 1 both copy the old pixel 0.
            New pixel y copies old pixel `y // 2`."""),
        Mistake(
            "rounded up",
            lambda x: x[
                :,
                :,
                *torch.meshgrid(
                    *[((torch.arange(2 * n) + 1) // 2).clamp(max=n - 1) for n in x.shape[2:]], indexing="ij"
                ),
            ],
        ).says("""
            This looks like a position that was rounded up instead of down.
            Which old pixel does the new pixel 1 copy?
            It copies old pixel 0: `y // 2` rounds down."""),
        Mistake("axes transposed", lambda x: upsampled()(x).transpose(2, 3)).says("""
            This looks like rows and columns swapped.
            Axis 2 counts rows, axis 3 columns. Does your index keep them in order?
            Index axis 2 with the rows and axis 3 with the columns."""),
        Mistake("four times", upsampled(4, 4)).says("""
            This looks like sides that are four times as long.
            Four times as many *pixels* means sides that are how many times as long?
            Twice: repeat each pixel twice along each of the two axes."""),
        Mistake("channels repeated", lambda x: x.repeat_interleave(2, 1).repeat_interleave(2, 2)).says("""
            This looks like axes 1 and 2 repeated: channels and rows.
            Images are (B, C, H, W). Which axes are height and width?
            Repeat along axes 2 and 3."""),
        Mistake("scrambled by reshape", scrambled).says("""
            This looks like four copies of every pixel, in the wrong places.
            `reshape` keeps the order in memory; each new axis must stand directly behind the one it enlarges.
            `x[:, :, :, None, :, None]`, expanded to (B, C, H, 2, W, 2) and then reshaped. Or `repeat_interleave`."""),
        Mistake("a pixel's share", lambda x: upsampled()(x) / 4).says("""
            This looks like each pixel divided among its four copies.
            Brightness is no quantity to be shared out: a copy is as bright as the pixel.
            Leave the values as they are."""),
    ),
    consequence="Nothing is learned here, and nothing can go wrong: a constant image stays constant. The 3x3 "
    "convolution behind it does the learning.",
)

# receptive_field


def field(
    grow: Callable[[int, int, int, int], float] = lambda size, jump, k, s: size + (k - 1) * jump, start: int = 1
) -> Callable[[Sequence[tuple[int, int]]], float]:
    """A learner's recursion: how the window grows; the jump is the product of the strides before."""

    def receptive_field(layers: Sequence[tuple[int, int]]) -> float:
        size, jump = start, 1
        for kernel, stride in layers:
            size, jump = grow(size, jump, kernel, stride), jump * stride
        return size

    return receptive_field


def last_stride_only(layers: Sequence[tuple[int, int]]) -> int:
    """The stride of the layer before in place of the product."""
    size, jump = 1, 1
    for kernel, stride in layers:
        size, jump = size + (kernel - 1) * jump, stride
    return size


def strides_added(layers: Sequence[tuple[int, int]]) -> int:
    """Strides added up instead of multiplied."""
    size, jump = 1, 1
    for kernel, stride in layers:
        size, jump = size + (kernel - 1) * jump, jump + stride - 1
    return size


def stride_added(layers: Sequence[tuple[int, int]]) -> int:
    """The whole stride added to the jump."""
    size, jump = 1, 1
    for kernel, stride in layers:
        size, jump = size + (kernel - 1) * jump, jump + stride
    return size


check_receptive_field = Exercise(
    function="receptive_field",
    solution=lambda layers: receptive_fields([(kernel, stride, 0) for kernel, stride in layers])[-1].size,
    cases=[
        ([(3, 1)],),
        ([(3, 1), (3, 1), (3, 1)],),
        ([(3, 2), (3, 2), (3, 1), (5, 1)],),
        ([(3, 1), (3, 2), (3, 1), (3, 2), (3, 1), (3, 1)],),
        ([(7, 3), (2, 2), (4, 3), (3, 2)],),
        ([(3, 3), (1, 1), (3, 2), (5, 3)],),
    ],
    mistakes=(
        Mistake("kernels added", field(lambda size, jump, k, s: size + k, start=0)).says("""
            This looks like the kernels added up.
            Two 3x3 convolutions see 5 pixels, not 6: neighbouring windows overlap.
            Start at 1. Every layer adds `kernel - 1`, times the jump."""),
        Mistake("jump forgotten", field(lambda size, jump, k, s: size + k - 1)).says("""
            This looks like a stack without any stride.
            After a stride of 2, how many pixels of the *input* lie between two neighbours?
            Every layer adds `(kernel - 1) * jump`, and the jump is the product of all strides before."""),
        Mistake("own stride too early", field(lambda size, jump, k, s: size + (k - 1) * jump * s)).says("""
            This looks like a layer's own stride counted in its own window.
            The stride of a layer moves its window from one output to the next. Does it make one window larger?
            Update the size with the old jump, and only then multiply the jump by the stride."""),
        Mistake("last stride only", last_stride_only).says("""
            This looks like the stride of the layer before in place of the product of all.
            After two layers of stride 2, neighbours lie 4 pixels of the input apart.
            `jump = jump * stride`."""),
        Mistake("strides added", strides_added).says("""
            This looks like strides that were added up.
            A stride of 2 on top of a stride of 3 makes a jump of ...?
            They multiply: `jump = jump * stride`."""),
        Mistake("started at zero", field(start=0)).says("""
            This looks one too small everywhere.
            With no layers at all, how many pixels does a pixel see?
            Itself: start at 1."""),
        Mistake("whole kernel", field(lambda size, jump, k, s: size + k * jump)).says("""
            This looks like `kernel * jump` added in every layer.
            A 1x1 convolution adds nothing to the window. What does your formula add?
            `(kernel - 1) * jump`."""),
        Mistake("half the kernel", field(lambda size, jump, k, s: size + (k // 2) * jump)).says("""
            This looks like a window that grows on one side only.
            A kernel of 3 adds a neighbour on the left *and* on the right.
            Add `kernel - 1`, not `kernel // 2`."""),
        Mistake("one more taken off", field(lambda size, jump, k, s: size + k * jump - 1)).says("""
            This looks like `kernel * jump - 1` added in every layer.
            A 1x1 convolution adds nothing, whatever the jump is. What does your formula add at a jump of 4?
            The kernel's last pixel lies `kernel - 1` places from its first, and each place is a jump: `(kernel - 1)
                * jump`."""),
        Mistake("odd kernels only", field(lambda size, jump, k, s: size + 2 * (k // 2) * jump)).says("""
            This looks like half a kernel on the left and half a kernel on the right.
            That is right for odd kernels. How many neighbours does a kernel of 4 add in all?
            `(kernel - 1) * jump`, for even kernels too."""),
        Mistake("stride added to the jump", stride_added).says("""
            This looks like `jump + stride`.
            A layer of stride 1 leaves the distance of neighbours as it is. What does yours do?
            They multiply: `jump = jump * stride`."""),
        Mistake("backwards", lambda layers: field()(layers[::-1])).says("""
            This looks like the layers taken from the last to the first, or the backward recursion `(r - 1) * s + k`,
                run from the front.
            The strides that count for a layer are those *before* it, nearer to the input.
            Go through the list as it is: the first layer first. Or, with the backward recursion, run it from the
                last layer."""),
        Mistake("area", lambda layers: field()(layers) ** 2).says("""
            This looks like the number of pixels in the whole window.
            Right, but asked for is the length of its side.
            Do not square."""),
        Mistake("the jump", lambda layers: field(lambda size, jump, k, s: size * s)(layers)).says("""
            This looks like the product of the strides.
            That is the jump, the distance of neighbours. The window grows even without any stride.
            Keep two numbers, size and jump, and update both."""),
    ),
    consequence="The jump doubles with every level, so the same 3x3 convolution sees twice as far at a quarter of the "
    "price.",
    tolerance=1e-6,
)

# up_channels


def bookkeeping(
    extra: int = 1, order: int = -1, compound: bool = False, first: bool = True, downsamples: bool = True
) -> Callable[..., list[int]]:
    """A learner's list, kept as the network keeps its feature maps, with one thing wrong.

    Args:
        extra: up blocks a level beyond n_blocks.
        order: which kept map is taken next, -1 the last.
        compound: multipliers multiply the level above.
        first, downsamples: whether the projected image and the downsampled maps are kept.
    """

    def entering(n_channels: int, ch_mults: Sequence[int], n_blocks: int) -> list[int]:
        widths, width = [], n_channels
        for m in ch_mults:
            width = (width if compound else n_channels) * m
            widths.append(width)
        kept = [n_channels] if first else []
        for i, width in enumerate(widths):
            kept += [width] * (n_blocks + (downsamples and i < len(widths) - 1))
        below, answer = widths[-1], []
        for width in reversed(widths):
            for _ in range(n_blocks + extra):
                answer.append(below + (kept.pop(order) if kept else 0))
                below = width
        return answer

    return entering


def below_alone(n_channels: int, ch_mults: Sequence[int], n_blocks: int) -> list[int]:
    """The skips left out."""
    below, answer = n_channels * ch_mults[-1], []
    for m in reversed(ch_mults):
        for _ in range(n_blocks + 1):
            answer.append(below)
            below = n_channels * m
    return answer


def twice_the_width(n_channels: int, ch_mults: Sequence[int], n_blocks: int) -> list[int]:
    """Every block of a level alike."""
    return [2 * n_channels * m for m in reversed(ch_mults) for _ in range(n_blocks + 1)]


def own_level_below(n_channels: int, ch_mults: Sequence[int], n_blocks: int) -> list[int]:
    """The right skips; what comes from below taken as wide as the level itself."""
    right, widths = up_channels(n_channels, ch_mults, n_blocks), [n_channels * m for m in ch_mults]
    inner = [*widths[1:], widths[-1]]
    for level, i in enumerate(reversed(range(len(widths)))):
        right[level * (n_blocks + 1)] += widths[i] - inner[i]
    return right


def skips_as_wide(across: Callable[[int, int, int, int], list[int]]) -> Callable[..., list[int]]:
    """What comes from below is right, the skips follow a learner's rule.

    Args:
        across: width of level i, width of the level above, n_blocks, i -> widths of the level's skips.
    """

    def entering(n_channels: int, ch_mults: Sequence[int], n_blocks: int) -> list[int]:
        widths, answer = [n_channels * m for m in ch_mults], []
        below = widths[-1]
        for i in reversed(range(len(widths))):
            outer = widths[i - 1] if i > 0 else n_channels
            for skip in across(widths[i], outer, n_blocks, i):
                answer.append(below + skip)
                below = widths[i]
        return answer

    return entering


check_up_channels = Exercise(
    function="up_channels",
    solution=up_channels,
    cases=[(24, (1, 2, 4), 1), (32, (1, 2), 1), (128, (1, 2, 2, 2), 2), (64, (1, 2, 2, 4), 2), (16, (3, 1, 2), 3)],
    mistakes=(
        Mistake("taken from the front", bookkeeping(order=0)).says("""
            This looks like the kept maps taken in the order in which they were made.
            The first map that was kept has the full resolution. Which one does the lowest level need?
            Last in, first out: `kept.pop()`."""),
        Mistake("image_proj forgotten", bookkeeping(first=False)).says("""
            This looks like a stack without the very first map, the one that `image_proj` makes.
            Count: are there as many kept maps as up blocks? What does the last up block get?
            Start with `kept = [n_channels]`."""),
        Mistake("Downsample outputs forgotten", bookkeeping(downsamples=False)).says("""
            This looks like a stack that keeps what the blocks make, but not what the `Downsample`s make.
            In `UNet.forward`, after which modules of the way down is `x` appended?
            After all of them. A `Downsample` keeps the channels of its level."""),
        Mistake("n_blocks for n_blocks + 1", bookkeeping(extra=0)).says("""
            This looks like `n_blocks` up blocks a level.
            On the way down a level makes `n_blocks` maps, and one more comes from `image_proj` or a `Downsample`.
            `n_blocks + 1` up blocks a level, so that every kept map is taken."""),
        Mistake("compounding", bookkeeping(compound=True)).says("""
            This looks like multipliers that multiply the width of the level above.
            What is (1, 2, 2, 4) on 64: widths 64, 128, 128, 256, or 64, 128, 256, 1024?
            Each level is `n_channels * m`, whatever the level above is."""),
        Mistake("below alone", below_alone).says("""
            This looks like what comes from below, without the skip.
            What does `torch.cat` along the channels do to their number?
            Add the channels of the kept map."""),
        Mistake("twice the width", twice_the_width).says("""
            This looks like twice the level's width for every block.
            That is right in the middle of a level. What comes from below in its first block, and across in its last?
            The first block of a level gets the width of the level below; the last one's skip has the width of the
                level above."""),
        Mistake("own level below", own_level_below).says("""
            This looks right except for the first block of a level, where what comes from below is of another width.
            `Upsample` keeps the channels. How many does the level below have? Narrowing in the last block is labml's
                way; here it happens after upsampling.
            Carry the width of the last block on into the next level: `below` changes only after a block."""),
        Mistake("every skip of the level's width", skips_as_wide(lambda own, outer, n, i: [own] * (n + 1))).says("""
            This looks right except for the last block of a level, whose skip is of another width.
            The last kept map of a level is the one that arrived there. Who made it, and how wide?
            `image_proj` or the `Downsample` of the level above: its width is that of the level above."""),
        Mistake("arrival taken first", skips_as_wide(lambda own, outer, n, i: [outer] + [own] * n)).says("""
            This looks like the right skips of every level, in the order in which they were made.
            On the way down the map that *arrives* at a level is kept first. When is it taken?
            Last in, first out within a level too: the arrival's turn comes in the level's last block."""),
        Mistake(
            "Downsample widens", skips_as_wide(lambda own, outer, n, i: [own] * n + [own if i > 0 else outer])
        ).says("""
            This looks like a `Downsample` that widens to the next level.
            Who changes the number of channels on the way down: the `Downsample`, or the first block after it?
            A `Downsample` keeps the channels of its level."""),
        Mistake("from the top", lambda *case: up_channels(*case)[::-1]).says("""
            This looks right, but from the last up block to the first.
            The way up starts at the lowest level.
            List the blocks in the order in which they run."""),
    ),
    consequence="Every kept map is taken exactly once. If a single count were off, the network would stop with an "
    "error at its first image: this bookkeeping cannot go wrong quietly.",
    tolerance=1e-6,
)

# up_block


def toy_res(x: Tensor, t_emb: Tensor) -> Tensor:
    """A stand-in for a residual block that works with any number of channels and notices their order and the time."""
    weight = torch.linspace(-1, 2, x.shape[1]).view(1, -1, 1, 1)
    return (x * weight).cumsum(1).tanh() + t_emb.mean(1).view(-1, 1, 1, 1)


def toy_attn(x: Tensor) -> Tensor:
    """A stand-in for attention: every pixel learns of the mean, and large values count less."""
    return x / (1 + x.abs()) + x.mean((2, 3), keepdim=True)


def block_with(
    join: Callable[[Tensor, Tensor], Tensor] = lambda x, skip: torch.cat((x, skip), 1),
    run: Callable[..., Tensor] = lambda res, attn, x, t_emb: attn(res(x, t_emb)),
) -> Callable[..., Tensor]:
    """A learner's up block: how the two maps are joined, and what is done then."""
    return lambda res, attn, x, skip, t_emb: run(res, attn, join(x, skip), t_emb)


def up_block_case(channels: int, seed: int) -> tuple[Any, ...]:
    """Stand-ins, and two maps of one shape, so that wrong ways to join them go unnoticed."""
    g = torch.Generator().manual_seed(seed)
    x, skip = torch.randn(2, 2, channels, 4, 4, generator=g)
    return toy_res, toy_attn, x, skip, torch.randn(2, 8, generator=g)


check_up_block = Exercise(
    function="up_block",
    solution=block_with(),
    cases=[up_block_case(3, 0), up_block_case(4, 1), up_block_case(1, 2)],
    mistakes=(
        Mistake("skip first", block_with(lambda x, skip: torch.cat((skip, x), 1))).says("""
            This looks like the skip in front of what comes from below.
            Either order can be learned. But trained weights expect one: which does `UpBlock` use?
            `torch.cat((x, skip), dim=1)`."""),
        Mistake("added", block_with(lambda x, skip: x + skip)).says("""
            This looks like the two maps added up.
            A sum needs equal numbers of channels, and forgets which part came from where.
            Lay them side by side: `torch.cat` along the channels."""),
        Mistake("along the rows", block_with(lambda x, skip: torch.cat((x, skip), 2))).says("""
            This looks like one map below the other: concatenated along axis 2.
            Images are (B, C, H, W). Which axis holds the channels?
            `dim=1`."""),
        Mistake("along the columns", block_with(lambda x, skip: torch.cat((x, skip), 3))).says("""
            This looks like the maps side by side: concatenated along axis 3.
            Images are (B, C, H, W). Which axis holds the channels?
            `dim=1`."""),
        Mistake(
            "along the batch", lambda res, attn, x, skip, t_emb: attn(res(torch.cat((x, skip)), t_emb.repeat(2, 1)))
        ).says("""
            This looks like twice as many images: concatenated along axis 0.
            `torch.cat` without a `dim` joins along the batch.
            `dim=1`, the channels."""),
        Mistake("skip forgotten", block_with(lambda x, skip: x)).says("""
            This looks like a block that never looks at `skip`.
            What distinguishes an up block from a down block?
            Join `x` and `skip` first."""),
        Mistake("x forgotten", block_with(lambda x, skip: skip)).says("""
            This looks like a block that never looks at `x`.
            What came from below would be lost.
            Join `x` and `skip` first."""),
        Mistake(
            "joined after the block", lambda res, attn, x, skip, t_emb: attn(torch.cat((res(x, t_emb), skip), 1))
        ).says("""
            This looks like the skip joined after the residual block.
            Who is to make something of both maps together?
            Join first, and give the joined map to `res`."""),
        Mistake("attention forgotten", block_with(run=lambda res, attn, x, t_emb: res(x, t_emb))).says("""
            This looks like the residual block alone.
            On levels with attention something comes after it.
            `attn(res(..., t_emb))`. Where there is none, `attn` is the identity."""),
        Mistake("attention first", block_with(run=lambda res, attn, x, t_emb: res(attn(x), t_emb))).says("""
            This looks like attention before the residual block.
            In which order does `DownBlock` do it?
            The residual block first."""),
        Mistake("attention added", block_with(run=lambda res, attn, x, t_emb: (h := res(x, t_emb)) + attn(h))).says("""
            This looks like the attention's answer added to its input.
            `AttentionBlock` adds its input itself.
            Return what `attn` returns."""),
    ),
    consequence="Concatenation is the more general of the two: a convolution that weighs both halves alike *is* a "
    "convolution of their sum, (8.7).",
)
