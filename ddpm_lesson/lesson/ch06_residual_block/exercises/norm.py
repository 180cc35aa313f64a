"""Group normalisation, and what survives of a shift."""

from torch import Tensor

from ddpm_lesson.lesson.ch06_residual_block.experiments import group_norm, surviving_shift
from ddpm_lesson.lesson.kit.exercise import Exercise, Mistake, halved, numbers


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
