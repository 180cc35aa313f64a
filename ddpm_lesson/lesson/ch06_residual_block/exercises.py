"""Exercises of notebook 06: group normalisation, what survives of a shift, Swish, and the block's forward pass."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ddpm_lesson.lesson.ch06_residual_block.experiments import group_norm, surviving_shift
from ddpm_lesson.lesson.kit.exercise import Exercise, Mistake
from ddpm_lesson.unet import ResidualBlock


def numbers(*shape: int, seed: int, std: float = 1.0, mean: float = 0.0) -> Tensor:
    """Normal numbers, the same every time."""
    return mean + std * torch.randn(shape, generator=torch.Generator().manual_seed(seed))


# group_norm


def norm_with(
    group: Callable[[Tensor, int], Tensor] | None = None,
    mean: Callable[[Tensor], Any] | None = None,
    divide: Callable[[Tensor, float], Tensor] | None = None,
) -> Callable[..., Tensor]:
    """A learner's normalisation: how values are grouped, what is taken away, and what it is divided by.

    Args:
        group: reshapes ``x`` so that the last axis holds what belongs together.
        mean: of the last axis, kept as an axis.
        divide: by what, from the grouped values and eps.
    """

    def norm(x: Tensor, n_groups: int, eps: float) -> Tensor:
        values = (group or in_groups)(x, n_groups)
        centred = values - (mean or last_mean)(values)
        return (centred / (divide or root_of_var)(values, eps)).reshape(x.shape)

    return norm


def in_groups(x: Tensor, n_groups: int) -> Tensor:
    """(B, n_groups, values)."""
    return x.reshape(len(x), n_groups, -1)


def last_mean(values: Tensor) -> Tensor:
    """Mean over the last axis."""
    return values.mean(-1, keepdim=True)


def root_of_var(values: Tensor, eps: float) -> Tensor:
    """sqrt(var + eps) over the last axis."""
    return (values.var(-1, keepdim=True, unbiased=False) + eps).sqrt()


def root_mean_square(values: Tensor, eps: float) -> Tensor:
    """sqrt(mean of squares + eps) over the last axis."""
    return ((values**2).mean(-1, keepdim=True) + eps).sqrt()


def like_batch_norm(x: Tensor, n_groups: int, eps: float) -> Tensor:
    """Statistics of each channel over the batch."""
    mean = x.mean((0, 2, 3), keepdim=True)
    return (x - mean) / (x.var((0, 2, 3), keepdim=True, unbiased=False) + eps).sqrt()


def groups_over_the_batch(x: Tensor, n_groups: int, eps: float) -> Tensor:
    """Statistics of each group over the batch."""
    swapped = x.transpose(0, 1)
    return group_norm(swapped.reshape(1, *swapped.shape), n_groups, eps)[0].transpose(0, 1)


def pixel_by_pixel(x: Tensor, n_groups: int, eps: float) -> Tensor:
    """Statistics over the channels of a group, for each pixel by itself."""
    groups = x.reshape(len(x), n_groups, -1, *x.shape[2:])
    var = groups.var(2, keepdim=True, unbiased=False)
    return ((groups - groups.mean(2, keepdim=True)) / (var + eps).sqrt()).reshape(x.shape)


def interleaved(x: Tensor, n_groups: int, eps: float) -> Tensor:
    """Channel c in group c % n_groups."""
    mixed = x.reshape(len(x), -1, n_groups, *x.shape[2:]).transpose(1, 2)
    return group_norm(mixed.reshape(x.shape), n_groups, eps).reshape(mixed.shape).transpose(1, 2).reshape(x.shape)


def only_the_mean_divided(x: Tensor, n_groups: int, eps: float) -> Tensor:
    """x - mean / root, without brackets."""
    groups = in_groups(x, n_groups)
    return (groups - last_mean(groups) / root_of_var(groups, eps)).reshape(x.shape)


check_group_norm = Exercise(
    function="group_norm",
    solution=group_norm,
    cases=[
        (numbers(3, 6, 4, 4, seed=1, mean=0.8), 2, 0.1),
        (numbers(4, 6, 2, 3, seed=2, std=0.5, mean=-0.4), 3, 0.02),
        (numbers(2, 4, 3, 3, seed=3, std=2.0, mean=0.5), 1, 0.5),
        (numbers(2, 8, 3, 3, seed=4, std=0.3, mean=1.0), 2, 0.05),
    ],
    mistakes=(
        Mistake("statistics over the batch", like_batch_norm).says("""
            This looks like BatchNorm: one mean for each channel, over all images of the batch.
            Each image is to be normalised by its own numbers. Which axis must not be averaged over?
            Keep the batch axis: `x.reshape(B, n_groups, -1)`, and take mean and variance over the last axis."""),
        Mistake("groups over the batch", groups_over_the_batch).says("""
            This looks like statistics of each group over all images of the batch.
            The groups are right. But does one image's answer depend on the others?
            Keep the batch axis: `x.reshape(B, n_groups, -1)`."""),
        Mistake("per channel", norm_with(group=lambda x, n: x.flatten(2))).says("""
            This looks like every channel normalised by itself (instance norm).
            Where does `n_groups` come in?
            A group holds C / n_groups channels: `x.reshape(B, n_groups, -1)`."""),
        Mistake("all channels at once", norm_with(group=lambda x, n: x.flatten(1))).says("""
            This looks like one mean and one variance for all channels of an image (layer norm).
            Where does `n_groups` come in?
            One mean for each group: `x.reshape(B, n_groups, -1)`, mean over the last axis."""),
        Mistake("pixel by pixel", pixel_by_pixel).says("""
            This looks like the mean of a group's channels taken for every pixel by itself.
            How many numbers share one mean: C / n_groups, or C / n_groups times height times width?
            Flatten channels of the group *and* pixels into one axis, and average over that."""),
        Mistake("interleaved groups", interleaved).says("""
            This looks like channels 0, G, 2G, ... in one group: the groups are interleaved.
            A reshape keeps the order. Which of the two new axes changes faster, and which do you average over?
            Groups are neighbours: the first new axis is the group, `x.reshape(B, n_groups, C // n_groups, H, W)`."""),
        Mistake(
            "number and size of groups swapped", norm_with(group=lambda x, n: x.reshape(len(x), x.shape[1] // n, -1))
        ).says("""
            This looks like `n_groups` used as the number of channels in a group.
            With 6 channels and `n_groups` = 2 there are two groups of three.
            The axis after the batch has length `n_groups`."""),
        Mistake(
            "unbiased variance", norm_with(divide=lambda v, eps: (v.var(-1, keepdim=True, unbiased=True) + eps).sqrt())
        ).says("""
            This looks like the unbiased variance, divided by n - 1.
            PyTorch's `var` divides by n - 1 unless told otherwise; (6.1) takes the plain mean of the squares.
            `var(..., unbiased=False)`, or the mean of `(x - mean) ** 2`."""),
        Mistake(
            "eps outside the root", norm_with(divide=lambda v, eps: v.std(-1, keepdim=True, unbiased=False) + eps)
        ).says(r"""
            This looks like eps added to the standard deviation.
            Look where $\delta$ stands in (6.1): under the root or beside it?
            `(var + eps).sqrt()`."""),
        Mistake(
            "unbiased std + eps", norm_with(divide=lambda v, eps: v.std(-1, keepdim=True, unbiased=True) + eps)
        ).says("""
            This looks like `x.std() + eps`, which differs in two things.
            The variance is the plain mean of the squares, and eps is added before the root.
            `(x.var(..., unbiased=False) + eps).sqrt()`."""),
        Mistake("eps forgotten", norm_with(divide=lambda v, eps: v.std(-1, keepdim=True, unbiased=False))).says("""
            This looks right but for eps.
            What happens to a group in which all values are equal?
            `(var + eps).sqrt()`."""),
        Mistake(
            "divided by the variance", norm_with(divide=lambda v, eps: v.var(-1, keepdim=True, unbiased=False) + eps)
        ).says("""
            This looks like a division by the variance.
            If x is measured in metres, so should be what you divide by.
            Take the root: `(var + eps).sqrt()`."""),
        Mistake("mean not taken away", norm_with(mean=lambda values: 0.0)).says("""
            This looks like a division by the standard deviation, with the mean left in.
            The result should have mean 0 in every group.
            Subtract the group's mean before you divide."""),
        Mistake("root mean square", norm_with(mean=lambda values: 0.0, divide=root_mean_square)).says("""
            This looks like RMSNorm: divided by the root of the mean square, the mean left in.
            A variance measures squares of distances *from the mean*.
            Subtract the mean first; then the mean of the squares is the variance."""),
        Mistake("only the mean taken away", norm_with(divide=lambda v, eps: torch.ones(()))).says("""
            This looks like the mean taken away, and no division.
            What would happen to an input ten times as large?
            Divide by `(var + eps).sqrt()`."""),
        Mistake("multiplied", norm_with(divide=lambda v, eps: 1 / root_of_var(v, eps))).says("""
            This looks like a multiplication by the standard deviation.
            Large inputs should become smaller, not larger.
            Divide."""),
        Mistake(
            "eps added to the deviation, under the root",
            norm_with(divide=lambda v, eps: (v.std(-1, keepdim=True, unbiased=False) + eps).sqrt()),
        ).says("""
            This looks like the root of the *standard deviation*: the root is taken twice.
            `std` has taken a root already. What stands under the root in (6.1)?
            `(x.var(..., unbiased=False) + eps).sqrt()`, with `var` and not `std`."""),
        Mistake(
            "two roots added", norm_with(divide=lambda v, eps: v.std(-1, keepdim=True, unbiased=False) + eps**0.5)
        ).says("""
            This looks like the root of the variance plus the root of eps.
            The root of a sum is not the sum of the roots.
            Add first, then take one root: `(var + eps).sqrt()`."""),
        Mistake("one mean for everything", norm_with(group=lambda x, n: x.flatten())).says("""
            This looks like one mean and one variance for the whole batch.
            How many means does a batch of B images with G groups have?
            B times G: `x.reshape(B, n_groups, -1)`, mean over the last axis, `keepdim=True`."""),
        Mistake("only the mean divided", only_the_mean_divided).says("""
            This looks like `x - mean / root`: only the mean was divided.
            A division comes before a minus sign, unless there are brackets.
            `(x - mean) / (var + eps).sqrt()`."""),
        Mistake(
            "length for the standard deviation",
            norm_with(divide=lambda v, eps: (v - last_mean(v)).norm(dim=-1, keepdim=True) + eps),
        ).says("""
            This looks like a division by the *length* of the group's vector, the root of the sum of squares.
            With more pixels in the group, should the answer get smaller?
            A variance is the *mean* of the squares: `var(..., unbiased=False)`."""),
    ),
    consequence="Whether the input is ten times as strong or a hundred, what comes out is the same. The layers behind "
    "it never have to learn how loud their input is.",
)

# swish

check_swish = Exercise(
    function="swish",
    solution=F.silu,
    cases=[
        (torch.linspace(-6, 6, 13),),
        (numbers(2, 3, 4, seed=5, std=2.0),),
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
        Mistake("tanh alone", torch.tanh).says("""
            This looks like tanh.
            For large x Swish grows like x.
            `x * torch.sigmoid(x)`."""),
        Mistake("GELU", F.gelu).says("""
            This looks like GELU, a close relative: x times the distribution function of a standard Gaussian.
            Here the gate is the sigmoid $1/(1+e^{-x})$.
            `x * torch.sigmoid(x)`."""),
        Mistake("steeper gate", lambda x: x * torch.sigmoid(1.702 * x)).says("""
            This looks like x times sigmoid(1.702 x), the usual stand-in for GELU.
            Swish may have a factor inside the sigmoid; in DDPM it is 1.
            `x * torch.sigmoid(x)`."""),
        Mistake("Mish", F.mish).says("""
            This looks like Mish: x times tanh(softplus(x)).
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
        Mistake("leaky ReLU", lambda x: F.leaky_relu(x, 0.01)).says("""
            This looks like a leaky ReLU, with a kink at 0.
            Swish is smooth, and far below 0 it comes back to 0.
            `x * torch.sigmoid(x)`."""),
        Mistake("hard swish", F.hardswish).says("""
            This looks like hard swish, the version made of straight pieces for telephones.
            Here the gate is the smooth sigmoid $1/(1+e^{-x})$.
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

# surviving_shift


def mean_over(group: Callable[[Tensor, int], Tensor]) -> Callable[..., Tensor]:
    """A learner's answer that takes away a mean over the last axis of other groups."""

    def survivor(shift: Tensor, n_groups: int) -> Tensor:
        groups = group(shift, n_groups)
        return (groups - groups.mean(-1, keepdim=True)).reshape(shift.shape)

    return survivor


def interleaved_shift(shift: Tensor, n_groups: int) -> Tensor:
    """Channel c in group c % n_groups."""
    groups = shift.reshape(len(shift), -1, n_groups)
    return (groups - groups.mean(1, keepdim=True)).reshape(shift.shape)


def divided_too(shift: Tensor, n_groups: int) -> Tensor:
    """The shift itself group-normalised."""
    return group_norm(shift, n_groups)


def group_means(shift: Tensor, n_groups: int) -> Tensor:
    """What is removed instead of what is left."""
    return shift - surviving_shift(shift, n_groups)


def means_in_turn(shift: Tensor, n_groups: int) -> Tensor:
    """Each group's mean taken from channel c % n_groups."""
    means = in_groups(shift, n_groups).mean(2)
    return shift - means.repeat(1, shift.shape[1] // n_groups)


check_surviving_shift = Exercise(
    function="surviving_shift",
    solution=surviving_shift,
    cases=[
        (numbers(3, 6, seed=6, mean=1.0), 2),
        (numbers(2, 6, seed=7, mean=-0.5), 3),
        (numbers(2, 8, seed=8), 2),
        (numbers(2, 4, seed=9), 1),
    ],
    mistakes=(
        Mistake("all of it", lambda shift, n_groups: shift).says("""
            This looks like the shift as it came.
            The normalisation takes each group's mean away. What does that do to a shift that is equal in a group?
            Subtract the mean of the shift over each group."""),
        Mistake("nothing", lambda shift, n_groups: torch.zeros_like(shift)).says("""
            This looks like nothing surviving at all.
            That is so with one channel a group. With more, do all channels of a group get the same shift?
            Differences within a group survive: subtract only the group's mean."""),
        Mistake("mean over all channels", lambda shift, n_groups: shift - shift.mean(-1, keepdim=True)).says("""
            This looks like the mean over all channels taken away.
            Every group has its own mean.
            `shift.reshape(B, n_groups, -1)`, and the mean over the last axis."""),
        Mistake("mean over the batch", lambda shift, n_groups: shift - shift.mean(0, keepdim=True)).says("""
            This looks like the mean over the images of the batch taken away.
            Group normalisation never looks across images.
            Average over the channels of a group: `shift.reshape(B, n_groups, -1).mean(-1, keepdim=True)`."""),
        Mistake("the part that is lost", group_means).says("""
            This looks like the means of the groups: the part that is *lost*.
            Asked for is the rest.
            Subtract what you have from `shift`."""),
        Mistake("sign", lambda shift, n_groups: -surviving_shift(shift, n_groups)).says("""
            This looks right but for the sign.
            A channel that is shifted up more than its group should still be up.
            Shift minus mean, not mean minus shift."""),
        Mistake("interleaved groups", interleaved_shift).says("""
            This looks like channels 0, G, 2G, ... in one group.
            Groups are neighbouring channels.
            `shift.reshape(B, n_groups, -1)`: the first new axis is the group."""),
        Mistake(
            "number and size of groups swapped",
            mean_over(lambda shift, n: shift.reshape(len(shift), shift.shape[1] // n, -1)),
        ).says("""
            This looks like `n_groups` used as the number of channels in a group.
            With 6 channels and `n_groups` = 2 there are two groups of three.
            The axis after the batch has length `n_groups`."""),
        Mistake("divided by its standard deviation too", divided_too).says("""
            This looks like the shift put through a group normalisation by itself.
            What is divided is the *sum* of feature map and shift, later. Asked for is only what enters it.
            Subtract the group's mean, and stop."""),
        Mistake(
            "first channel for the mean",
            lambda shift, n: (lambda g: (g - g[..., :1]).reshape(shift.shape))(shift.reshape(len(shift), n, -1)),
        ).says("""
            This looks like the first channel of each group taken away instead of the mean.
            The differences within a group are right. But what does the normalisation really subtract?
            Subtract the mean over the group."""),
        Mistake(
            "mean over the groups",
            lambda shift, n: (lambda g: (g - g.mean(1, keepdim=True)).reshape(shift.shape))(in_groups(shift, n)),
        ).says("""
            This looks like the mean taken over the axis of the groups instead of the channels inside a group.
            In (B, G, C / G), which axis holds the channels that share a mean?
            The last: `groups.mean(2, keepdim=True)`."""),
        Mistake("means repeated in the wrong order", means_in_turn).says("""
            This looks like the groups' means handed out in turn: g1, g2, g1, g2, ...
            `repeat` repeats the whole row. Which channels are neighbours in a group?
            `repeat_interleave`, or keep the group axis and let `keepdim=True` broadcast."""),
        Mistake("one mean for everything", lambda shift, n_groups: shift - shift.mean()).says("""
            This looks like one mean over all channels of all images.
            Every image and every group has a mean of its own.
            `shift.reshape(B, n_groups, -1).mean(2, keepdim=True)`."""),
    ),
    consequence="With one channel a group nothing is left, whatever the shift: such a block would be deaf to the time.",
)

# residual_forward


def forward_with(**steps: Callable[..., Any]) -> Callable[..., Tensor]:
    """A learner's forward pass with some of its steps replaced.

    Args:
        steps: ``shift(block, t_emb)``, ``first(block, x, s)``, ``middle(block, h, s)``, ``second(block, h, s)``,
            ``end(block, h, x, s)``.
    """
    do = RIGHT | steps

    def forward(block: Any, x: Tensor, t_emb: Tensor) -> Tensor:
        s = do["shift"](block, t_emb)
        h = do["first"](block, x, s)
        h = do["middle"](block, h, s)
        h = do["second"](block, h, s)
        return do["end"](block, h, x, s)

    return forward


RIGHT: dict[str, Callable[..., Any]] = {
    "shift": lambda b, t_emb: b.time_emb(b.time_act(t_emb))[:, :, None, None],
    "first": lambda b, x, s: b.conv1(b.act1(b.norm1(x))),
    "middle": lambda b, h, s: h + s,
    "second": lambda b, h, s: b.conv2(b.dropout(b.act2(b.norm2(h)))),
    "end": lambda b, h, x, s: h + b.shortcut(x),
}


def no_shift(block: Any, h: Tensor, s: Tensor) -> Tensor:
    """Between the convolutions, nothing."""
    return h


def forward_case(shortcut: bool, seed: int, dropout: float = 0.0) -> tuple[Any, ...]:
    """A block of random weights and inputs of sides 4, so that a forgotten broadcast goes unnoticed.

    Args:
        shortcut: whether the shortcut is a 1x1 convolution, as where the channels change.
        seed: of weights and inputs.
        dropout: above 0 the block is left in training mode.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        block = ResidualBlock(4, 4, 6, n_groups=2, dropout=dropout).train(dropout > 0)
        if shortcut:
            block.shortcut = nn.Conv2d(4, 4, kernel_size=1)
        for norm in (block.norm1, block.norm2):
            nn.init.normal_(norm.weight, 1, 0.3)
            nn.init.normal_(norm.bias, 0, 0.3)
        return block, 1.5 * torch.randn(4, 4, 4, 4) + 0.5, 2 * torch.randn(4, 6)


def overwritten(block: Any, x: Tensor, t_emb: Tensor) -> Tensor:
    """x reused for the normalised x, and then sent through the shortcut."""
    return forward_with(end=lambda b, h, x, s: h + b.shortcut(b.norm1(x)))(block, x, t_emb)


check_residual_forward = Exercise(
    function="residual_forward",
    solution=lambda block, x, t_emb: block(x, t_emb),
    cases=[forward_case(False, 1), forward_case(True, 2), forward_case(True, 3, dropout=0.5)],
    mistakes=(
        Mistake("no shortcut", forward_with(end=lambda b, h, x, s: h)).says("""
            This looks like the branch alone: the input is not added at the end.
            What is *residual* about a block that does not add its input?
            `return h + block.shortcut(x)`."""),
        Mistake("x added without its convolution", forward_with(end=lambda b, h, x, s: h + x)).says("""
            This looks like `x` added as it is, past the block's shortcut.
            It fits as long as the shortcut is the identity. Where channels change it is a 1x1 convolution.
            `h + block.shortcut(x)`."""),
        Mistake("shortcut from h", forward_with(end=lambda b, h, x, s: h + b.shortcut(h))).says("""
            This looks like the shortcut fed with `h`.
            The shortcut leads from the block's *input* to its end.
            `h + block.shortcut(x)`."""),
        Mistake("x overwritten", overwritten).says("""
            This looks like the *normalised* input added at the end.
            Did you write `x = block.norm1(x)`? Then the input is gone.
            Give the branch a name of its own: `h = block.norm1(x)`."""),
        Mistake(
            "time before the first convolution",
            forward_with(middle=no_shift, first=lambda b, x, s: b.conv1(b.act1(b.norm1(x + s)))),
        ).says("""
            This looks like the shift added to the input, before the first normalisation.
            The shift has as many channels as the *output*. Where does the branch have those for the first time?
            Add it behind `conv1`."""),
        Mistake(
            "time behind the first normalisation",
            forward_with(middle=no_shift, first=lambda b, x, s: b.conv1(b.act1(b.norm1(x) + s))),
        ).says("""
            This looks like the shift added between `norm1` and `act1`.
            The shift has as many channels as the *output*. Where does the branch have those for the first time?
            Add it behind `conv1`."""),
        Mistake(
            "time just before the first convolution",
            forward_with(middle=no_shift, first=lambda b, x, s: b.conv1(b.act1(b.norm1(x)) + s)),
        ).says("""
            This looks like the shift added between `act1` and `conv1`.
            The shift has as many channels as the *output*. Where does the branch have those for the first time?
            Add it behind `conv1`."""),
        Mistake(
            "time behind the second normalisation",
            forward_with(middle=no_shift, second=lambda b, h, s: b.conv2(b.dropout(b.act2(b.norm2(h) + s)))),
        ).says("""
            This looks like the shift added behind `norm2`.
            A fine idea that others had too, but not the paper's. What does it add the shift to?
            Add it to what comes out of `conv1`, before `norm2`."""),
        Mistake(
            "time behind the second activation",
            forward_with(middle=no_shift, second=lambda b, h, s: b.conv2(b.dropout(b.act2(b.norm2(h))) + s)),
        ).says("""
            This looks like the shift added just before `conv2`.
            There it would meet no activation any more: all that the time could do is move the output.
            Add it to what comes out of `conv1`, before `norm2`."""),
        Mistake("time at the end", forward_with(middle=no_shift, end=lambda b, h, x, s: h + s + b.shortcut(x))).says("""
            This looks like the shift added to the block's output.
            Between the convolutions is a better place: the second one can then act on it.
            Add it to what comes out of `conv1`, before `norm2`."""),
        Mistake("time forgotten", forward_with(middle=no_shift)).says("""
            This looks like a block that was not told the time.
            `t_emb` has to come in somewhere.
            Add `block.time_emb(block.time_act(t_emb))[:, :, None, None]` behind `conv1`."""),
        Mistake("time multiplied", forward_with(middle=lambda b, h, s: h * s)).says("""
            This looks like the feature map multiplied by the time's numbers.
            The paper's block adds them.
            `h + shift`."""),
        Mistake("time as a scale", forward_with(middle=lambda b, h, s: h * (1 + s))).says("""
            This looks like the feature map multiplied by 1 + the time's numbers.
            Later blocks do that *behind* the norm and add a shift as well. The paper's block only adds.
            `h + shift`."""),
        Mistake(
            "no activation on the time", forward_with(shift=lambda b, t_emb: b.time_emb(t_emb)[:, :, None, None])
        ).says("""
            This looks like the time embedding used without its activation.
            `block.time_act` waits in front of `block.time_emb`.
            `block.time_emb(block.time_act(t_emb))`."""),
        Mistake(
            "activation behind the time layer",
            forward_with(shift=lambda b, t_emb: b.time_act(b.time_emb(t_emb))[:, :, None, None]),
        ).says("""
            This looks like the activation behind the linear layer of the time instead of in front.
            A Swish at the end would leave hardly any negative shifts.
            First `time_act`, then `time_emb`."""),
        Mistake("shift not broadcast", forward_with(shift=lambda b, t_emb: b.time_emb(b.time_act(t_emb)))).says("""
            This looks like the shift (B, C) added to (B, C, H, W) as it is.
            PyTorch lines shapes up from the *right*: the shift lands on rows and columns, which here fit.
            Give it two more axes: `[:, :, None, None]`."""),
        Mistake(
            "first activation before the norm", forward_with(first=lambda b, x, s: b.conv1(b.norm1(b.act1(x))))
        ).says("""
            This looks like the first activation in front of its normalisation.
            Normalise first: then about half of the values meet the curved part of Swish.
            `block.conv1(block.act1(block.norm1(x)))`."""),
        Mistake(
            "second activation before the norm",
            forward_with(second=lambda b, h, s: b.conv2(b.dropout(b.norm2(b.act2(h))))),
        ).says("""
            This looks like the second activation in front of its normalisation.
            The order is the same in both halves.
            `block.act2(block.norm2(h))`."""),
        Mistake(
            "both activations before the norm",
            forward_with(
                first=lambda b, x, s: b.conv1(b.norm1(b.act1(x))),
                second=lambda b, h, s: b.conv2(b.dropout(b.norm2(b.act2(h)))),
            ),
        ).says("""
            This looks like both activations in front of their normalisations.
            Normalise, then bend, then convolve.
            `block.act1(block.norm1(x))`, and the same with 2."""),
        Mistake("first activation missing", forward_with(first=lambda b, x, s: b.conv1(b.norm1(x)))).says("""
            This looks like `act1` missing.
            Normalise, bend, convolve: which one is missing?
            `block.conv1(block.act1(block.norm1(x)))`."""),
        Mistake(
            "second activation missing", forward_with(second=lambda b, h, s: b.conv2(b.dropout(b.norm2(h))))
        ).says("""
            This looks like `act2` missing.
            Without it, nothing between the shift and `conv2` could make the time switch anything.
            `block.act2(block.norm2(h))`."""),
        Mistake("second norm missing", forward_with(second=lambda b, h, s: b.conv2(b.dropout(b.act2(h))))).says("""
            This looks like `norm2` missing.
            Both halves go normalise, bend, convolve.
            `block.act2(block.norm2(h))`."""),
        Mistake("first norm missing", forward_with(first=lambda b, x, s: b.conv1(b.act1(x)))).says("""
            This looks like `norm1` missing.
            Both halves go normalise, bend, convolve.
            `block.conv1(block.act1(block.norm1(x)))`."""),
        Mistake(
            "convolution first",
            forward_with(
                first=lambda b, x, s: b.act1(b.norm1(b.conv1(x))),
                second=lambda b, h, s: b.act2(b.norm2(b.conv2(b.dropout(h)))),
            ),
        ).says("""
            This looks like convolve, normalise, bend: the order of the first ResNets.
            Here the convolution comes last, so that what the branch adds can have any sign.
            `block.conv1(block.act1(block.norm1(x)))`, and the same with 2."""),
        Mistake(
            "first norm twice", forward_with(second=lambda b, h, s: b.conv2(b.dropout(b.act2(b.norm1(h)))))
        ).says("""
            This looks like `norm1` used in both halves.
            The second normalisation has weights of its own.
            `block.norm2(h)`."""),
        Mistake(
            "first convolution twice", forward_with(second=lambda b, h, s: b.conv1(b.dropout(b.act2(b.norm2(h)))))
        ).says("""
            This looks like `conv1` used in both halves.
            The second convolution has weights of its own.
            `block.conv2(...)`."""),
        Mistake("no dropout", forward_with(second=lambda b, h, s: b.conv2(b.act2(b.norm2(h))))).says("""
            This looks right, but without dropout: one of the blocks that were tried is in training mode.
            Which part of the block have you not used yet?
            `block.conv2(block.dropout(block.act2(block.norm2(h))))`. In evaluation mode it does nothing."""),
        Mistake(
            "dropout before the second activation",
            forward_with(second=lambda b, h, s: b.conv2(b.act2(b.dropout(b.norm2(h))))),
        ).says("""
            This looks like dropout between `norm2` and `act2`.
            The mean stays if values are dropped last. Swish bends what dropout made larger.
            `block.conv2(block.dropout(block.act2(block.norm2(h))))`."""),
        Mistake(
            "dropout behind the second convolution",
            forward_with(second=lambda b, h, s: b.dropout(b.conv2(b.act2(b.norm2(h))))),
        ).says("""
            This looks like dropout on what `conv2` puts out.
            There a dropped value is missing in the answer itself. Let the convolution even it out.
            `block.conv2(block.dropout(...))`."""),
        Mistake("activation at the end", forward_with(end=lambda b, h, x, s: b.act2(h + b.shortcut(x)))).says("""
            This looks like an activation behind the sum, as in the first ResNets.
            It would bend the shortcut too, and the straight way through all blocks would be lost.
            Return the sum as it is."""),
        Mistake("divided by the root of 2", forward_with(end=lambda b, h, x, s: (h + b.shortcut(x)) / 2**0.5)).says(r"""
            This looks like the sum divided by $\sqrt2$.
            Some later networks do that to keep the variance. The paper's block does not.
            Return the plain sum."""),
    ),
    consequence="You have written the part of the U-Net that does most of its work: in the paper's CIFAR-10 network it "
    "stands there 22 times.",
)
