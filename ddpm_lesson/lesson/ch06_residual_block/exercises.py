"""Exercises of notebook 06: group normalisation, what survives of a shift, Swish, and the block's forward pass."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ddpm_lesson.lesson.ch06_residual_block.experiments import group_norm, surviving_shift
from ddpm_lesson.lesson.kit.exercise import Exercise, Mistake, halved, numbers
from ddpm_lesson.unet import ResidualBlock


def groups_over_the_batch(x: Tensor, n_groups: int, eps: float) -> Tensor:
    """Statistics of each group over all images of the batch."""
    return group_norm(x.transpose(0, 1)[None], n_groups, eps)[0].transpose(0, 1)


def interleaved_groups(x: Tensor, n_groups: int, eps: float) -> Tensor:
    """Channel c in group c % n_groups."""
    mixed = x.unflatten(1, (-1, n_groups)).transpose(1, 2)
    return group_norm(mixed.flatten(1, 2), n_groups, eps).reshape(mixed.shape).transpose(1, 2).reshape(x.shape)


check_group_norm = Exercise(
    solution=group_norm,
    cases=[
        (numbers(3, 6, 4, 5, seed=1) + 0.8, 2, 0.1),
        (0.5 * numbers(4, 6, 2, 3, seed=2) - 0.4, 3, 0.02),
        (2.0 * numbers(2, 4, 3, 2, seed=3) + 0.5, 1, 0.5),
        (0.3 * numbers(2, 8, 1, 3, seed=4) + 1.0, 2, 0.05),
    ],
    mistakes=(
        Mistake("statistics over the batch", lambda x, n, eps: groups_over_the_batch(x, x.shape[1], eps)).says("""
            This looks like BatchNorm: one mean for each channel, over all images of the batch.
            Each image is to be normalised by its own numbers. Which axis must not be averaged over?
            Keep the batch axis: `x.reshape(B, n_groups, -1)`, and take mean and variance over the last axis."""),
        Mistake("groups over the batch", groups_over_the_batch).says("""
            This looks like statistics of each group over all images of the batch.
            The groups are right. But does one image's answer depend on the others?
            Keep the batch axis: `x.reshape(B, n_groups, -1)`."""),
        Mistake("per channel", lambda x, n_groups, eps: group_norm(x, x.shape[1], eps)).says("""
            This looks like every channel normalised by itself (instance norm).
            Where does `n_groups` come in?
            A group holds C / n_groups channels: `x.reshape(B, n_groups, -1)`."""),
        Mistake("all channels at once", lambda x, n_groups, eps: group_norm(x, 1, eps)).says("""
            This looks like one mean and one variance for all channels of an image (layer norm).
            Where does `n_groups` come in?
            One mean for each group: `x.reshape(B, n_groups, -1)`, mean over the last axis."""),
        Mistake("pixel by pixel", ("n_groups, -1)", "n_groups, -1, *x.shape[2:])")).says("""
            This looks like the mean of a group's channels taken for every pixel by itself.
            How many numbers share one mean: C / n_groups, or C / n_groups times height times width?
            Flatten channels of the group *and* pixels into one axis, and average over that."""),
        Mistake("interleaved groups", interleaved_groups).says("""
            This looks like channels 0, G, 2G, ... in one group: the groups are interleaved.
            A reshape keeps the order. Which of the two new axes changes faster, and which do you average over?
            Groups are neighbours: the first new axis is the group, `x.reshape(B, n_groups, C // n_groups, H, W)`."""),
        Mistake("number and size of groups swapped", lambda x, n, eps: group_norm(x, x.shape[1] // n, eps)).says("""
            This looks like `n_groups` used as the number of channels in a group.
            With 6 channels and `n_groups` = 2 there are two groups of three.
            The axis after the batch has length `n_groups`."""),
        Mistake("unbiased variance", ("unbiased=False", "unbiased=True")).says("""
            This looks like the unbiased variance, divided by n - 1.
            PyTorch's `var` divides by n - 1 unless told otherwise; (6.1) takes the plain mean of the squares.
            `var(..., unbiased=False)`, or the mean of `(x - mean) ** 2`."""),
        Mistake("eps outside the root", ("(var + eps).sqrt()", "(var.sqrt() + eps)")).says(r"""
            This looks like eps added to the standard deviation.
            Look where $\delta$ stands in (6.1): under the root or beside it?
            `(var + eps).sqrt()`."""),
        Mistake(
            "unbiased std + eps", ("unbiased=False", "unbiased=True", "(var + eps).sqrt()", "(var.sqrt() + eps)")
        ).says("""
            This looks like `x.std() + eps`, which differs in two things.
            The variance is the plain mean of the squares, and eps is added before the root.
            `(x.var(..., unbiased=False) + eps).sqrt()`."""),
        Mistake("unbiased std alone", ("unbiased=False", "unbiased=True", "(var + eps)", "var")).says("""
            This looks like a division by `.std()`, without eps.
            `.std()` divides by n - 1 unless told otherwise, and (6.1) has one thing more under its root.
            `(groups.var(dim=2, keepdim=True, unbiased=False) + eps).sqrt()`."""),
        Mistake("eps forgotten", ("(var + eps)", "var")).says("""
            This looks right but for eps.
            What happens to a group in which all values are equal?
            `(var + eps).sqrt()`."""),
        Mistake("divided by the variance", (".sqrt()", "")).says("""
            This looks like a division by the variance.
            If x is measured in metres, so should be what you divide by.
            Take the root: `(var + eps).sqrt()`."""),
        Mistake("mean not taken away", ("(groups - mean)", "groups")).says("""
            This looks like a division by the standard deviation, with the mean left in.
            The result should have mean 0 in every group.
            Subtract the group's mean before you divide."""),
        Mistake("root mean square", ("(groups - mean)", "groups", "(var + eps)", "(mean**2 + var + eps)")).says("""
            This looks like RMSNorm: divided by the root of the mean square, the mean left in.
            A variance measures squares of distances *from the mean*.
            Subtract the mean first; then the mean of the squares is the variance."""),
        Mistake("only the mean taken away", (" / (var + eps).sqrt()", "")).says("""
            This looks like the mean taken away, and no division.
            What would happen to an input ten times as large?
            Divide by `(var + eps).sqrt()`."""),
        Mistake("multiplied", ("/ (var", "* (var")).says("""
            This looks like a multiplication by the standard deviation.
            Large inputs should become smaller, not larger.
            Divide."""),
        Mistake("eps added to the deviation, under the root", ("(var + eps)", "(var.sqrt() + eps)")).says("""
            This looks like the root of the *standard deviation*: the root is taken twice.
            `std` has taken a root already. What stands under the root in (6.1)?
            `(x.var(..., unbiased=False) + eps).sqrt()`, with `var` and not `std`."""),
        Mistake("one mean for everything", lambda x, n_groups, eps: group_norm(x[None], 1, eps)[0]).says("""
            This looks like one mean and one variance for the whole batch.
            How many means does a batch of B images with G groups have?
            B times G: `x.reshape(B, n_groups, -1)`, mean over the last axis, `keepdim=True`."""),
        Mistake("only the mean divided", ("(groups - mean)", "groups - mean")).says("""
            This looks like `x - mean / root`: only the mean was divided.
            A division comes before a minus sign, unless there are brackets.
            `(x - mean) / (var + eps).sqrt()`."""),
        halved(),
    ),
    consequence="Whether the input is ten times as strong or a hundred, what comes out is the same. The layers behind "
    "it never have to learn how loud their input is.",
)

check_swish = Exercise(
    function="swish",
    solution=F.silu,
    cases=[
        (torch.linspace(-6, 6, 13),),
        (2.0 * numbers(2, 3, 4, seed=5),),
        (torch.tensor([[-1.2785, 0.5], [3.0, -8.0]]),),
    ],
    mistakes=(
        Mistake("ReLU", F.relu).says("""
            This looks like ReLU: x above 0, and 0 below.
            Swish lets a little of the negative side through. What is multiplied with x?
            `x * torch.sigmoid(x)`."""),
        Mistake("ReLU through the gate", lambda x: F.relu(x) * torch.sigmoid(x)).says("""
            This looks like ReLU times the gate: nothing is let through below 0.
            The gate multiplies `x` itself, negative or not.
            `x * torch.sigmoid(x)`."""),
        Mistake("sigmoid alone", torch.sigmoid).says("""
            This looks like the sigmoid alone.
            The sigmoid is the gate. What goes through it?
            Multiply by `x`."""),
        Mistake("tanh for sigmoid", lambda x: x * x.tanh()).says(r"""
            This looks like x times tanh(x), which is never negative.
            A gate lies between 0 and 1. Does tanh?
            $\sigma(x) = 1/(1+e^{-x})$: `torch.sigmoid(x)`."""),
        Mistake("GELU", F.gelu).says("""
            This looks like GELU, a close relative: x times the distribution function of a standard Gaussian.
            Here the gate is the sigmoid $1/(1+e^{-x})$.
            `x * torch.sigmoid(x)`."""),
        Mistake("sign in the exponent", lambda x: x * torch.sigmoid(-x)).says("""
            This looks like a gate that closes for large x.
            In $1/(1+e^{-x})$ there is a minus in the exponent.
            `x / (1 + torch.exp(-x))`."""),
        Mistake("softplus", F.softplus).says(r"""
            This looks like softplus, $\ln(1+e^x)$.
            Softplus is always positive; Swish dips below 0.
            `x * torch.sigmoid(x)`."""),
        Mistake("softmax for sigmoid", lambda x: x * x.softmax(-1)).says("""
            This looks like x times a softmax, in which the values compete.
            In Swish every value has its own gate and knows nothing of its neighbours.
            `x * torch.sigmoid(x)`."""),
        Mistake("the slope", lambda x: x.sigmoid() * (1 + x * (1 - x.sigmoid()))).says("""
            This looks like the derivative of Swish.
            Asked for is the function itself, (6.3) left.
            `x * torch.sigmoid(x)`."""),
    ),
    consequence=r"PyTorch calls it `F.silu`. Its slope is 0 at one point only, and there the value is exactly $1 + x$.",
)


def arriving_shift(shift: Tensor, n_groups: int) -> Tensor:
    """Means of the channels of GN(h + s), (B, C), for equal channels of mean 0 and variance 1: equation (6.5)."""
    groups = shift.reshape(len(shift), n_groups, -1)
    apart = groups - groups.mean(dim=2, keepdim=True)
    return (apart / (1 + apart.square().mean(dim=2, keepdim=True)).sqrt()).reshape(shift.shape)


check_arriving_shift = Exercise(
    solution=arriving_shift,
    cases=[
        (numbers(3, 6, seed=6) + 1.0, 2),
        (3 * numbers(2, 6, seed=7) - 0.5, 3),
        (numbers(2, 8, seed=8), 2),
        (numbers(2, 4, seed=9), 1),
    ],
    mistakes=(
        Mistake("the numerator alone", surviving_shift).says("""
            This looks like the shift minus the mean of its group: the numerator of (6.5).
            Can a strong shift arrive in full? What stands below it?
            Divide by the root of 1 plus the variance of the shift over the group."""),
        Mistake("not divided by the spread of h", ("1 + apart", "apart")).says(r"""
            This looks like the shift normalised by itself: even the weakest would arrive at full strength.
            Which other variance stands under the root of (6.5)?
            $\sigma_g^2 = 1$, that of `h`, belongs there too."""),
        Mistake("no root", (".sqrt()", "")).says("""
            This looks like a division by the variance.
            What does a normalisation divide by?
            Take the root."""),
        Mistake("mean not taken away", ("groups - groups.mean(dim=2, keepdim=True)", "groups")).says(r"""
            This looks like $s_c$ where $s_c - \bar s_g$ belongs.
            What does the normalisation do to a shift that is equal in a whole group?
            Subtract the mean of the shift over each group first."""),
        Mistake("spread with the mean in it", ("(1 + apart.square().mean(", "(1 + groups.square().mean(")).says(r"""
            This looks right above, but below stands the mean of the squares of the shift itself.
            $\mathrm{var}_g(s)$ measures from which point?
            From the group's mean: take the squares of $s_c - \bar s_g$."""),
        Mistake(
            "unbiased variance", ("apart.square().mean(dim=2, keepdim=True)", "groups.var(dim=2, keepdim=True)")
        ).says("""
            This looks like the unbiased variance, divided by n - 1.
            PyTorch's `var` divides by n - 1 unless told otherwise; a normalisation takes the plain mean.
            `var(..., unbiased=False)`."""),
        Mistake("all channels at once", lambda shift, n_groups: arriving_shift(shift, 1)).says("""
            This looks like the mean and the variance over all channels.
            Every group has its own.
            `shift.reshape(B, n_groups, -1)`, and both over the last axis."""),
        Mistake("sign", lambda shift, n_groups: -arriving_shift(shift, n_groups)).says("""
            This looks right but for the sign.
            A channel that is shifted up more than its group should still be up.
            Shift minus mean, not mean minus shift."""),
        Mistake(
            "interleaved groups",
            (
                "(len(shift), n_groups, -1)",
                "(len(shift), -1, n_groups).mT",
                ").reshape(shift.shape)",
                ").mT.reshape(shift.shape)",
            ),
        ).says("""
            This looks like channels 0, G, 2G, ... in one group.
            Groups are neighbouring channels.
            `shift.reshape(B, n_groups, -1)`: the first new axis is the group."""),
        Mistake("number and size of groups swapped", lambda s, n: arriving_shift(s, s.shape[1] // n)).says("""
            This looks like `n_groups` used as the number of channels in a group.
            With 6 channels and `n_groups` = 2 there are two groups of three.
            The axis after the batch has length `n_groups`."""),
        halved(),
    ),
    consequence="With one channel a group nothing is left, whatever the shift: such a block would be deaf to the time.",
)


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
