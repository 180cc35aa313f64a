"""The forward pass of the residual block."""

from typing import Any

import torch
from torch import Tensor, nn

from ddpm_lesson.lesson.kit.exercise import Exercise, Mistake
from ddpm_lesson.unet import ResidualBlock


def residual_forward(block: Any, x: Tensor, t_emb: Tensor) -> Tensor:
    """``ResidualBlock.forward``, step by step."""
    shift = block.time_emb(block.time_act(t_emb))[:, :, None, None]
    h = block.conv1(block.act1(block.norm1(x)))
    h = h + shift
    h = block.conv2(block.dropout(block.act2(block.norm2(h))))
    return h + block.shortcut(x)


def convolution_first(block: Any, x: Tensor, t_emb: Tensor) -> Tensor:
    """Convolve, normalise, bend in both halves."""
    h = block.act1(block.norm1(block.conv1(x))) + block.time_emb(block.time_act(t_emb))[:, :, None, None]
    return block.act2(block.norm2(block.conv2(block.dropout(h)))) + block.shortcut(x)


def forward_case(shortcut: bool, seed: int, dropout: float = 0.0, sides: tuple[int, int] = (4, 4)) -> tuple[Any, ...]:
    """A block of random weights and four images of four channels; with sides 4 a forgotten broadcast goes unnoticed.

    Args:
        shortcut: whether the shortcut is a 1x1 convolution, as where the channels change.
        seed: of weights and inputs.
        dropout: above 0 the block is left in training mode.
        sides: of the images.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        block = ResidualBlock(4, 4, 6, n_groups=2, dropout=dropout).train(dropout > 0)
        if shortcut:
            block.shortcut = nn.Conv2d(4, 4, kernel_size=1)
        for norm in (block.norm1, block.norm2):
            nn.init.normal_(norm.weight, 1, 0.3)
            nn.init.normal_(norm.bias, 0, 0.3)
        return block, 1.5 * torch.randn(4, 4, *sides) + 0.5, 2 * torch.randn(4, 6)


check_residual_forward = Exercise(
    solution=residual_forward,
    cases=[
        forward_case(False, 1),
        forward_case(True, 2),
        forward_case(True, 3, dropout=0.5),
        forward_case(True, 4, sides=(3, 5)),
    ],
    mistakes=(
        Mistake("no shortcut", (" + block.shortcut(x)", "")).says("""
            This looks like the branch alone: the input is not added at the end.
            What is *residual* about a block that does not add its input?
            `return h + block.shortcut(x)`."""),
        Mistake("x added without its convolution", ("block.shortcut(x)", "x")).says("""
            This looks like `x` added as it is, past the block's shortcut.
            It fits as long as the shortcut is the identity. Where channels change it is a 1x1 convolution.
            `h + block.shortcut(x)`."""),
        Mistake("shortcut from h", ("shortcut(x)", "shortcut(h)")).says("""
            This looks like the shortcut fed with `h`.
            The shortcut leads from the block's *input* to its end.
            `h + block.shortcut(x)`."""),
        Mistake("x overwritten", ("shortcut(x)", "shortcut(block.norm1(x))")).says("""
            This looks like the *normalised* input added at the end.
            Did you write `x = block.norm1(x)`? Then the input is gone.
            Give the branch a name of its own: `h = block.norm1(x)`."""),
        Mistake("x overwritten on the way", ("h = h + shift", "h = x = h + shift")).says("""
            This looks like an `x` that was overwritten on the way: the shortcut starts behind the time's shift.
            Which `x` must the shortcut see: the one that came in, or what became of it?
            Keep `x` as it is, and use another name, such as `h`, for the other path."""),
        Mistake("time before the first convolution", ("norm1(x)", "norm1(x + shift)", "h + shift", "h")).says("""
            This looks like the shift added to the input, before the first normalisation.
            The shift has as many channels as the *output*. Where does the branch have those for the first time?
            Add it behind `conv1`."""),
        Mistake("time behind the first normalisation", ("norm1(x)", "norm1(x) + shift", "h + shift", "h")).says("""
            This looks like the shift added between `norm1` and `act1`.
            The shift has as many channels as the *output*. Where does the branch have those for the first time?
            Add it behind `conv1`."""),
        Mistake("time just before the first convolution", ("norm1(x))", "norm1(x)) + shift", "h + shift", "h")).says("""
            This looks like the shift added between `act1` and `conv1`.
            The shift has as many channels as the *output*. Where does the branch have those for the first time?
            Add it behind `conv1`."""),
        Mistake("time behind the second normalisation", ("norm2(h)", "norm2(h) + shift", "h + shift", "h")).says("""
            This looks like the shift added behind `norm2`.
            A fine idea that others had too, but not the paper's. What does it add the shift to?
            Add it to what comes out of `conv1`, before `norm2`."""),
        Mistake("time behind the second activation", ("norm2(h)))", "norm2(h))) + shift", "h + shift", "h")).says("""
            This looks like the shift added just before `conv2`.
            There it would meet no activation any more: all that the time could do is move the output.
            Add it to what comes out of `conv1`, before `norm2`."""),
        Mistake("time at the end", ("h + shift", "h", "return h", "return h + shift")).says("""
            This looks like the shift added to the block's output.
            Between the convolutions is a better place: the second one can then act on it.
            Add it to what comes out of `conv1`, before `norm2`."""),
        Mistake("time forgotten", ("h + shift", "h")).says("""
            This looks like a block that was not told the time.
            `t_emb` has to come in somewhere.
            Add `block.time_emb(block.time_act(t_emb))[:, :, None, None]` behind `conv1`."""),
        Mistake("time multiplied", ("h + shift", "h * shift")).says("""
            This looks like the feature map multiplied by the time's numbers.
            The paper's block adds them.
            `h + shift`."""),
        Mistake("time as a scale", ("h + shift", "h * (1 + shift)")).says("""
            This looks like the feature map multiplied by 1 + the time's numbers.
            Later blocks do that *behind* the norm and add a shift as well. The paper's block only adds.
            `h + shift`."""),
        Mistake("no activation on the time", ("block.time_act(t_emb)", "t_emb")).says("""
            This looks like the time embedding used without its activation.
            `block.time_act` waits in front of `block.time_emb`.
            `block.time_emb(block.time_act(t_emb))`."""),
        Mistake("activation behind the time layer", ("time_emb(block.time_act", "time_act(block.time_emb")).says("""
            This looks like the activation behind the linear layer of the time instead of in front.
            A Swish at the end would leave hardly any negative shifts.
            First `time_act`, then `time_emb`."""),
        Mistake("shift not broadcast", ("[:, :, None, None]", "")).says("""
            This looks like the shift (B, C) added to (B, C, H, W) as it is.
            PyTorch lines shapes up from the *right*: the shift lands on rows and columns, which here fit.
            Give it two more axes: `[:, :, None, None]`."""),
        Mistake("first activation before the norm", ("act1(block.norm1", "norm1(block.act1")).says("""
            This looks like the first activation in front of its normalisation.
            Normalise first: then about half of the values meet the curved part of Swish.
            `block.conv1(block.act1(block.norm1(x)))`."""),
        Mistake("second activation before the norm", ("act2(block.norm2", "norm2(block.act2")).says("""
            This looks like the second activation in front of its normalisation.
            The order is the same in both halves.
            `block.act2(block.norm2(h))`."""),
        Mistake(
            "both activations before the norm",
            ("act1(block.norm1", "norm1(block.act1", "act2(block.norm2", "norm2(block.act2"),
        ).says("""
            This looks like both activations in front of their normalisations.
            Normalise, then bend, then convolve.
            `block.act1(block.norm1(x))`, and the same with 2."""),
        Mistake("first activation missing", ("block.act1(block.norm1(x))", "block.norm1(x)")).says("""
            This looks like `act1` missing.
            Normalise, bend, convolve: which one is missing?
            `block.conv1(block.act1(block.norm1(x)))`."""),
        Mistake("second activation missing", ("block.act2(block.norm2(h))", "block.norm2(h)")).says("""
            This looks like `act2` missing.
            Without it, nothing between the shift and `conv2` could make the time switch anything.
            `block.act2(block.norm2(h))`."""),
        Mistake("second norm missing", ("block.norm2(h)", "h")).says("""
            This looks like `norm2` missing.
            Both halves go normalise, bend, convolve.
            `block.act2(block.norm2(h))`."""),
        Mistake("first norm missing", ("block.norm1(x)", "x")).says("""
            This looks like `norm1` missing.
            Both halves go normalise, bend, convolve.
            `block.conv1(block.act1(block.norm1(x)))`."""),
        Mistake("convolution first", convolution_first).says("""
            This looks like convolve, normalise, bend: the order of the first ResNets.
            Here the convolution comes last, so that what the branch adds can have any sign.
            `block.conv1(block.act1(block.norm1(x)))`, and the same with 2."""),
        Mistake("first norm twice", ("norm2", "norm1")).says("""
            This looks like `norm1` used in both halves.
            The second normalisation has weights of its own.
            `block.norm2(h)`."""),
        Mistake("first convolution twice", ("conv2", "conv1")).says("""
            This looks like `conv1` used in both halves.
            The second convolution has weights of its own.
            `block.conv2(...)`."""),
        Mistake("no dropout", ("block.dropout(block.act2(block.norm2(h)))", "block.act2(block.norm2(h))")).says("""
            This looks right, but without dropout: one of the blocks that were tried is in training mode.
            Which part of the block have you not used yet?
            `block.conv2(block.dropout(block.act2(block.norm2(h))))`. In evaluation mode it does nothing."""),
        Mistake("dropout before the second activation", ("dropout(block.act2", "act2(block.dropout")).says("""
            This looks like dropout between `norm2` and `act2`.
            The mean stays if values are dropped last. Swish bends what dropout made larger.
            `block.conv2(block.dropout(block.act2(block.norm2(h))))`."""),
        Mistake("dropout behind the second convolution", ("conv2(block.dropout", "dropout(block.conv2")).says("""
            This looks like dropout on what `conv2` puts out.
            There a dropped value is missing in the answer itself. Let the convolution even it out.
            `block.conv2(block.dropout(...))`."""),
        Mistake("activation at the end", ("h + block.shortcut(x)", "block.act2(h + block.shortcut(x))")).says("""
            This looks like an activation behind the sum, as in the first ResNets.
            It would bend the shortcut too, and the straight way through all blocks would be lost.
            Return the sum as it is."""),
        Mistake("divided by the root of 2", ("h + block.shortcut(x)", "(h + block.shortcut(x)) / 2**0.5")).says(r"""
            This looks like the sum divided by $\sqrt2$.
            Some later networks do that to keep the variance. The paper's block does not.
            Return the plain sum."""),
    ),
    consequence="You have written the part of the U-Net that does most of its work: in the paper's CIFAR-10 network "
    "it stands there 22 times.",
)
