"""Exercises of notebook 03: schedules, signal-to-noise, noising in one shot, L_T."""

import math

import torch
from torch import Tensor

from ddpm_lesson.lesson.kit.exercise import Exercise, Mistake, halved


def quadratic_alpha_bar(n_steps: int, beta_start: float, beta_end: float) -> Tensor:
    """What is left of the image's power after each step of the quadratic schedule; (n_steps,), float64."""
    root = torch.linspace(beta_start**0.5, beta_end**0.5, n_steps, dtype=torch.float64)
    return torch.cumprod(1 - root**2, 0)


check_quadratic_alpha_bar = Exercise(
    solution=quadratic_alpha_bar,
    cases=((1000, 1e-4, 0.02), (10, 0.05, 0.4)),
    mistakes=(
        Mistake(
            "the linear schedule", ("beta_start**0.5", "beta_start", "beta_end**0.5", "beta_end", "root**2", "root")
        ).says(r"""
            This looks like the linear schedule of (3.4).
            In `quadratic` it is $\sqrt\beta$ that grows along a line. Between which two numbers?
            A line from $\sqrt{\beta_1}$ to $\sqrt{\beta_T}$; its squares are $\beta$."""),
        Mistake("roots for beta", ("root**2", "root")).says(r"""
            This looks like $\sqrt\beta$ where $\beta$ belongs: far too much noise.
            What lies on the line, and what does one step keep?
            Square the line before you take it from 1."""),
        Mistake("a line of beta, squared", ("beta_start**0.5", "beta_start", "beta_end**0.5", "beta_end")).says(r"""
            This looks like the squares of a line from `beta_start` to `beta_end`: hardly any noise.
            The ends that are given are $\beta$ themselves. Where must the line of roots begin and end?
            From `beta_start ** 0.5` to `beta_end ** 0.5`."""),
        Mistake("alpha for alpha_bar", ("torch.cumprod(1 - root**2, 0)", "1 - root**2")).says("""
            This looks like alpha, the factor of a single step.
            How much of x_0 is left after t steps, not after one?
            Each step multiplies by alpha_t, so after t steps all of them are multiplied: a cumulative product."""),
        Mistake("sum for product", ("cumprod", "cumsum")).says("""
            This looks like a sum of the alphas; it grows beyond 1.
            Steps follow each other: does the second factor act on what the first has left, or beside it?
            Use `torch.cumprod` where you used `torch.cumsum`."""),
        Mistake("product of beta", ("1 - root**2,", "root**2,")).says("""
            This looks like the product of the betas; it is nearly 0 from the start.
            beta is what noise adds. What keeps the signal?
            Multiply alpha = 1 - beta, not beta."""),
        Mistake("one minus the sum of beta", ("torch.cumprod(1 - root**2, 0)", "1 - torch.cumsum(root**2, 0)")).says("""
            This looks like 1 minus the sum of the betas, which falls below 0.
            A step takes a share of what is left, not of what was there at the start.
            1 - beta_1 - beta_2 is only close to (1 - beta_1)(1 - beta_2) while both are small: multiply."""),
        Mistake("shifted by one step", ("1 - root**2,", "torch.cat((torch.ones(1), 1 - root[:-1] ** 2)),")).says("""
            This looks like alpha_bar one step earlier: it starts with 1.
            Index 0 is after the first step. Has anything been added by then?
            Do not put a 1 in front: alpha_bar[0] = 1 - beta[0]."""),
        Mistake("square root of alpha", ("1 - root**2,", "(1 - root**2).sqrt(),")).says("""
            This looks like the square root of alpha_bar, the factor of x_0 itself.
            alpha_bar counts power (variance), and its root multiplies the image.
            Leave out the square root."""),
        Mistake(
            "t over T, from 1", ("n_steps, dtype=torch.float64)", "n_steps + 1, dtype=torch.float64)[1:]")
        ).says(r"""
            This looks like steps of $1/T$, with the first $\beta$ already one step up.
            As in (3.4) there are $T$ values, and both ends are among them. How many gaps lie between?
            Divide by $T-1$, as `torch.linspace(first, last, n_steps)` does."""),
        Mistake("t over T", ("n_steps, dtype=torch.float64)", "n_steps + 1, dtype=torch.float64)[:-1]")).says("""
            This looks like a line that stops one step short of beta_end.
            How many gaps are there between n_steps numbers?
            Divide by n_steps - 1, as `torch.linspace` does."""),
        Mistake("power of the noise", ("torch.cumprod", "1 - torch.cumprod")).says("""
            This looks like 1 - alpha_bar, the power of the noise.
            At the start nearly everything of the image is left. Do your numbers start near 1?
            Leave out the last subtraction: alpha_bar itself is the product."""),
        Mistake(
            "exponential of the sum", ("torch.cumprod(1 - root**2, 0)", "torch.exp(-torch.cumsum(root**2, 0))")
        ).says("""
            This looks like exp of minus the sum of the betas: (3.5) without its second term.
            That is close for small beta. What is the exact product?
            Use `torch.cumprod(1 - beta, 0)`."""),
        Mistake("a 1 in front", ("1 - root**2,", "torch.cat((torch.ones(1), 1 - root**2)),")).says("""
            This looks right, with a 1 too many in front: n_steps + 1 values.
            The data themselves are not one of the n_steps times of the code.
            Index 0 is after the first step: alpha_bar[0] = 1 - beta[0]."""),
        halved(),
    ),
    consequence="With the paper's two ends its betas add up to 7.2, not 10, and 0.0007 of the image's power is left. "
    "Section 5 asks whether that is little enough.",
)


def snr_db(alpha_bar: Tensor) -> Tensor:
    """Power of the signal over that of the noise, in decibels."""
    return 10 * torch.log10(alpha_bar / (1 - alpha_bar))


check_snr_db = Exercise(
    solution=snr_db,
    cases=((torch.tensor([0.9999, 0.5, 0.0039, 4e-5], dtype=torch.float64),), (torch.tensor([0.3]).double(),)),
    mistakes=(
        Mistake("20 for 10", ("10 *", "20 *")).says("""
            This looks like 20 log10, twice what is right.
            20 log10 is for ratios of amplitudes. Are alpha_bar and 1 - alpha_bar amplitudes or powers?
            alpha_bar is the power of the signal (a variance), so take 10 log10 of the ratio."""),
        Mistake("ratio of amplitudes", ("alpha_bar / (1 - alpha_bar)", "(alpha_bar / (1 - alpha_bar)).sqrt()")).says("""
            This looks like 10 log10 of a ratio of amplitudes, half of what is right.
            Did you take square roots before dividing?
            Divide alpha_bar by 1 - alpha_bar without roots: decibels with the factor 10 want powers."""),
        Mistake("natural logarithm", ("log10", "log")).says("""
            This looks like the natural logarithm.
            A decibel is a tenth of a power of ten.
            Use `torch.log10` in place of `torch.log`."""),
        Mistake("noise over signal", ("alpha_bar / (1 - alpha_bar)", "(1 - alpha_bar) / alpha_bar")).says("""
            This looks upside down: the sign is the opposite of what is right.
            Near t = 0 there is hardly any noise. Should the ratio be large or small?
            Signal over noise: alpha_bar over 1 - alpha_bar."""),
        Mistake("no logarithm", lambda alpha_bar: alpha_bar / (1 - alpha_bar)).says("""
            This looks like the ratio itself, not in decibels.
            The ratio runs over more than eight powers of ten; decibels make that a line you can draw.
            Take 10 log10 of what you have."""),
        Mistake("noise of power 1", (" / (1 - alpha_bar)", "")).says("""
            This looks like the signal's power alone, as if the noise always had power 1.
            What multiplies eps in x_t, and what is its square?
            The noise has power 1 - alpha_bar; divide by it."""),
        Mistake("missing parentheses", ("(1 - alpha_bar)", "1 - alpha_bar")).says("""
            This looks like `alpha_bar / 1 - alpha_bar`, which is 0.
            Python divides before it subtracts.
            Put parentheses around 1 - alpha_bar."""),
        Mistake("missing factor 10", ("10 * ", "")).says("""
            This looks like the logarithm alone: bels, a tenth of what is right.
            A decibel is a tenth of a bel.
            Multiply by 10."""),
    ),
    consequence="0 dB, as much noise as signal, is reached where alpha_bar = 1/2: about a quarter of the paper's way.",
)


def q_sample(x0: Tensor, t: Tensor, eps: Tensor, alpha_bar: Tensor) -> Tensor:
    """x_t in one shot, (B, C, H, W); ``t`` is (B,), ``alpha_bar`` the whole schedule: equation (3.1)."""
    a = alpha_bar[t].view(-1, 1, 1, 1)
    return a.sqrt() * x0 + (1 - a).sqrt() * eps


def noising_case(batch: int, width: int, last: int, seed: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Images (batch, 3, 5, width), the first at t = 0 and the last at t = ``last``, and a short schedule."""
    generator = torch.Generator().manual_seed(seed)
    x0, eps = torch.randn(2, batch, 3, 5, width, generator=generator, dtype=torch.float64)
    t = torch.randint(1, 19, (batch,), generator=generator)
    t[0], t[-1] = 0, last
    return x0.clamp(-1, 1), t, eps, quadratic_alpha_bar(20, 0.01, 0.7)  # down to a thousandth and less


check_q_sample = Exercise(
    solution=q_sample,
    cases=(
        noising_case(4, 4, last=19, seed=0),
        noising_case(2, 6, last=7, seed=1),
    ),
    mistakes=(
        Mistake("missing square roots", ("a.sqrt()", "a", "(1 - a).sqrt()", "(1 - a)")).says("""
            This looks like (3.1) without its square roots.
            1 - alpha_bar is a variance. What multiplies eps, a variance or a standard deviation?
            Both factors are roots: sqrt(alpha_bar_t) x_0 + sqrt(1 - alpha_bar_t) eps."""),
        halved(),
        Mistake("image not dimmed", ("a.sqrt() * x0", "x0")).says("""
            This looks like noise on top of the whole image.
            The power of the two must stay 1. What has the image to give up?
            Multiply the image by the root of `alpha_bar[t]`."""),
        Mistake(
            "image kept at t = 0",
            ("= alpha_bar[t]", "= alpha_bar.where(torch.arange(len(alpha_bar)) > 0, 1.0)[t]"),
        ).says("""
            This looks right, but for t = 0, where the image comes back as it is.
            In code t = 0 is the paper's first step. Is there noise after it?
            No exception for `t == 0`: `alpha_bar[0]` is less than 1."""),
        Mistake("variance for standard deviation", ("(1 - a).sqrt()", "(1 - a)")).says("""
            This looks like the variance in front of the noise, where its standard deviation belongs.
            If eps has variance 1, what is the variance of c times eps?
            Take the root: sqrt(1 - alpha_bar_t) eps."""),
        Mistake("root of the signal missing", ("a.sqrt()", "a")).says("""
            This looks like alpha_bar in front of x_0, where its square root belongs.
            Squares of the two factors must add up to 1, or the variance is not preserved.
            Write sqrt(alpha_bar_t) x_0."""),
        Mistake("signal and noise swapped", lambda x0, t, eps, alpha_bar: q_sample(eps, t, x0, alpha_bar)).says("""
            This looks as if the two factors were swapped: noise first, image last.
            At t = 0, alpha_bar is close to 1. Should you see the image or the noise then?
            The root of alpha_bar goes with x_0, the root of 1 - alpha_bar with eps."""),
        Mistake("one step early", ("[t]", "[t - 1]")).says("""
            This looks like x_{t-1}: alpha_bar was read one place too early.
            In code, index t already is the paper's step t + 1.
            Use alpha_bar[t], without subtracting 1."""),
        Mistake("roots apart", ("(1 - a).sqrt()", "(1 - a.sqrt())")).says("""
            This looks like 1 - sqrt(alpha_bar), which is not sqrt(1 - alpha_bar).
            Check the parentheses: what is under the root?
            Subtract first, then take the root: (1 - alpha_bar[t]).sqrt()."""),
        Mistake("noise subtracted", ("x0 +", "x0 -")).says("""
            This looks like the noise with the opposite sign.
            The result has the right distribution, but the network will be told that eps was added.
            Use + between the two terms."""),
        Mistake("times along the width", (".view(-1, 1, 1, 1)", "")).says("""
            This looks as if the times of the batch were laid along the width of the images.
            alpha_bar[t] has shape (B,). With which axis of (B, C, H, W) does PyTorch line it up?
            Give it the shape (B, 1, 1, 1): alpha_bar[t].view(-1, 1, 1, 1)."""),
        Mistake("one step late", ("[t]", "[t + 1]")).says("""
            This looks like x_{t+1}: alpha_bar was read one place too late.
            Code counts from 0, and `t` is given in code.
            Use alpha_bar[t], without adding 1."""),
        Mistake("one time for all", ("[t]", "[t[:1]]")).says("""
            This looks as if all images had the time of the first one.
            `t` holds a time for every image.
            Index with the whole of `t`: alpha_bar[t].view(-1, 1, 1, 1)."""),
        Mistake("noise of its own", ("* eps", "* torch.randn_like(x0)")).says("""
            This looks like fresh noise in place of `eps`.
            The network will be asked for the noise that was added. Do you still know it?
            Use the argument `eps`."""),
        Mistake("noise not scaled", ("(1 - a).sqrt() * ", "")).says("""
            This looks like the noise at full strength at every time.
            At t = 0 there should be hardly any noise.
            Multiply eps by sqrt(1 - alpha_bar_t)."""),
    ),
    consequence="One line replaces up to 1000 steps: training can ask for any t at once, which makes it fast.",
)


def L_T(x0: Tensor, alpha_bar_T: float) -> float:
    """KL(q(x_T | x_0) || N(0, 1)) in bits per dimension: equation (3.7)."""
    signal, var = alpha_bar_T * float(x0.square().mean()), 1 - alpha_bar_T
    return 0.5 * (signal + var - 1 - math.log(var)) / math.log(2)


check_L_T = Exercise(
    solution=L_T,
    cases=(
        (torch.linspace(-1, 1, 24, dtype=torch.float64).view(2, 3, 2, 2), 0.2),
        (torch.linspace(-0.5, 1, 10, dtype=torch.float64).view(2, 5), 0.05),
    ),
    mistakes=(
        Mistake("nats for bits", (" / math.log(2)", "")).says("""
            This looks like nats.
            The natural logarithm counts in nats; the exercise asks for bits.
            Divide by ln 2 = 0.693."""),
        Mistake("multiplied by ln 2", ("/ math.log(2)", "* math.log(2)")).says("""
            This looks as if nats were multiplied by ln 2, where they should be divided.
            A bit is smaller than a nat: 0.693 nats. Are there more bits or more nats in a given amount?
            Divide by ln 2."""),
        Mistake("sum over dimensions", lambda x0, alpha_bar_T: L_T(x0, alpha_bar_T) * x0[0].numel()).says("""
            This looks like bits for a whole image, not for one of its values.
            bits/dim is an average over the dimensions of an image.
            Use the mean of x_0 squared, not the sum."""),
        Mistake("missing one half", ("0.5 * ", "")).says("""
            This looks twice as large as it should be.
            The KL divergence between Gaussians starts with 1/2.
            Multiply by 1/2."""),
        Mistake("mean without its root", ("alpha_bar_T * float", "alpha_bar_T**2 * float")).says(r"""
            This looks like $m = \bar\alpha_T\,x_0$, without the root.
            The divergence has $m^2$. Which power of $\bar\alpha_T$ is that?
            $m = \sqrt{\bar\alpha_T}\,x_0$, so $m^2 = \bar\alpha_T\,x_0^2$."""),
        Mistake("mean for mean square", ("x0.square().mean()", "x0.mean().square()")).says("""
            This looks like the square of the mean of x_0, where the mean of the squares belongs.
            A grey image and one of black and white stripes have the same mean. Which one is easier to see in noise?
            Square first, then average: x0.square().mean()."""),
        Mistake("standard deviation for variance", ("1 - alpha_bar_T", "(1 - alpha_bar_T) ** 0.5")).says("""
            This looks like the standard deviation in place of the variance 1 - alpha_bar.
            The formula for the KL divergence wants variances.
            Use 1 - alpha_bar itself, without a root."""),
        Mistake("sum of squares", (".mean()", ".sum()")).says("""
            This looks like the sum of all squares, where their mean belongs.
            bits/dim is an average over the dimensions, and over the images.
            Use x0.square().mean()."""),
        Mistake("variance for mean square", ("x0.square().mean()", "x0.var(unbiased=False)")).says("""
            This looks like the variance of x_0, where the mean of the squares belongs.
            Is the mean of an image zero? The prior has mean zero, and a bright image is farther from it.
            Use x0.square().mean(), which counts the mean as well."""),
        Mistake("only the leading term", (" + var - 1 - math.log(var)", "")).says("""
            This looks like the approximation for small alpha_bar.
            It is close at the end of a long chain. The exercise also tries short ones.
            Add the other two terms of (3.7): - alpha_bar_T - ln(1 - alpha_bar_T)."""),
        Mistake("divergence turned round", ("(signal + var - 1 - math", "((1 + signal) / var - 1 + math")).says("""
            This looks like KL(N(0, 1) || q(x_T | x_0)), the other direction.
            L_T averages over the end of the forward process.
            The variance of the first distribution is 1 - alpha_bar_T;
                that of the second, in the denominator, is 1."""),
    ),
    consequence="With the paper's schedule it is 0.00003 bits times E[x_0^2]: x_T has forgotten the image, so sampling "
    "may start from pure noise.",
)
