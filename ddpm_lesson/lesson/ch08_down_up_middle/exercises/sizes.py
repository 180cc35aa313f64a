"""Sizes, and receptive fields."""

from collections.abc import Sequence

from ddpm_lesson.lesson.ch08_down_up_middle.windows import conv_size
from ddpm_lesson.lesson.kit.exercise import Exercise, Mistake

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
        Mistake("kernels added", ("jump = 1", "jump = 0", "(kernel - 1) * dilation * jump", "kernel")).says("""
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
