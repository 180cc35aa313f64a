"""A step back of the whole chain, and the variances of one with fewer steps."""

from functools import partial
from typing import Any

import torch
from torch import Tensor

from ddpm_lesson.lesson.kit.exercise import Exercise, Mistake, halved, numbers, own_noise

doubles = partial(numbers, dtype=torch.float64)
BETA = torch.linspace(0.02, 0.5, 8, dtype=torch.float64)
ALPHA_BAR = (1 - BETA).cumprod(0)
BETA_TILDE = BETA * (1 - ALPHA_BAR / (1 - BETA)) / (1 - ALPHA_BAR)


def clipped_step(xt: Tensor, eps: Tensor, t: int, beta: Tensor, z: Tensor) -> Tensor:
    """One step of Algorithm 2 for a whole batch, with x0_hat clipped and sigma2 = beta."""
    alpha_bar = (1 - beta).cumprod(0)
    a, b = alpha_bar[t], beta[t]
    prev = alpha_bar[t - 1] if t else torch.ones_like(a)
    x0_hat = ((xt - (1 - a).sqrt() * eps) / a.sqrt()).clamp(-1, 1)
    mean = (prev.sqrt() * b * x0_hat + (1 - b).sqrt() * (1 - prev) * xt) / (1 - a)
    sigma = b.sqrt() if t else 0.0
    return mean + sigma * z


def clipped_case(t: int, *shape: int, seed: int) -> tuple[Any, ...]:
    """A noisy batch, noise of which some guesses leave [-1, 1], a time, the schedule and fresh noise."""
    return 3 * doubles(*shape, seed=seed), doubles(*shape, seed=seed + 1), t, BETA, 3 * doubles(*shape, seed=seed + 2)


check_clipped_step = Exercise(
    solution=clipped_step,
    cases=[
        clipped_case(5, 4, 1, 3, 3, seed=1),
        clipped_case(0, 6, 2, seed=4),
        clipped_case(1, 5, 3, seed=7),
        clipped_case(7, 12, seed=10),
    ],
    mistakes=(
        Mistake("noise at the last step", (" if t else 0.0", "")).says("""
            This looks right everywhere but at t = 0, where it still adds noise.
            At t = 0 the mean is the picture. Who would remove the noise that you add?
            Add `sigma * z` only if `t > 0`."""),
        Mistake("the paper's t", ("b.sqrt() if t else", "b.sqrt() if t > 1 else")).says("""
            This looks right everywhere but at t = 1, which gets no noise: so line 3 of Algorithm 2 has it, `t > 1`.
            The paper counts from 1 to T, your index from 0 to T - 1. Which index has the last step?
            Add `sigma * z` if `t > 0`."""),
        Mistake("not clipped", (".clamp(-1, 1)", "")).says(r"""
            This looks like a step with $\hat x_0$ as it comes.
            Some of the guesses lie outside [-1, 1], where no picture lives.
            `x0_hat.clamp(-1, 1)` before it goes into the mean."""),
        Mistake(
            "the result clipped", (".clamp(-1, 1)", "", "mean + sigma * z", "(mean + sigma * z).clamp(-1, 1)")
        ).says(r"""
            This looks like $x_{t-1}$ clipped, in place of $\hat x_0$.
            $x_{t-1}$ holds noise, and noise may well leave [-1, 1]. What may not?
            Clip $\hat x_0$ and leave $x_{t-1}$ alone."""),
        Mistake("guess and result clipped", ("mean + sigma * z", "(mean + sigma * z).clamp(-1, 1)")).says(r"""
            This looks like $\hat x_0$ clipped, and then $x_{t-1}$ clipped as well.
            $x_{t-1}$ holds noise, and noise may well leave [-1, 1].
            Clip $\hat x_0$ and leave $x_{t-1}$ alone."""),
        Mistake("clipped to [0, 1]", ("clamp(-1", "clamp(0")).says("""
            This looks like a clip to [0, 1].
            Which range do the images of this lesson have?
            `clamp(-1, 1)`."""),
        Mistake("variance for std", ("= b.sqrt()", "= b")).says(r"""
            This looks like fresh noise multiplied by the variance $\beta_t$.
            To get noise of variance $\beta_t$ from `z`, which has variance 1, multiply by ...?
            Multiply by `beta[t] ** 0.5`."""),
        Mistake("no fresh noise", (" + sigma * z", "")).says(r"""
            This looks like the mean alone.
            A step of Algorithm 2 is a *draw* from a Gaussian.
            Add $\sqrt{\beta_t}\,z$ for t > 0."""),
        Mistake("alpha_bar for alpha", ("(1 - b).sqrt()", "a.sqrt()")).says(r"""
            This looks like $\sqrt{\bar\alpha_t}$ in front of $x_t$, where $\sqrt{\alpha_t}$ belongs.
            The coefficient of $x_t$ has one bar, in $1-\bar\alpha_{t-1}$.
            `(1 - beta[t]) ** 0.5 * (1 - alpha_bar_prev)`."""),
        Mistake("alpha_bar of t for the one before", ("prev.sqrt()", "a.sqrt()", "(1 - prev)", "(1 - a)")).says(r"""
            This looks like $\bar\alpha_t$ in the mean, where $\bar\alpha_{t-1}$ belongs.
            Which noise level does $x_{t-1}$ have?
            `alpha_bar[t - 1] if t > 0 else 1.0`."""),
        Mistake("alpha without the root", ("(1 - b).sqrt()", "(1 - b)")).says(r"""
            This looks like $\alpha_t$ in front of $x_t$, without its root.
            Which factors of the mean stand under a root?
            `(1 - beta[t]) ** 0.5 * (1 - alpha_bar_prev)`."""),
        Mistake("guess divided by alpha_bar", ("/ a.sqrt()", "/ a")).says(r"""
            This looks like a division by $\bar\alpha_t$ in the guess.
            By how much is the image dimmed in $x_t$?
            Divide by $\sqrt{\bar\alpha_t}$."""),
        Mistake("index -1 at the end", (" if t else torch.ones_like(a)", "")).says(r"""
            This looks right everywhere but at t = 0, where index -1 is the *last* time.
            What is `alpha_bar[-1]` in Python, and what should stand before the first time?
            $\bar\alpha$ before index 0 is 1: `alpha_bar[t - 1] if t > 0 else 1.0`."""),
        Mistake("mean not divided", (" / (1 - a)", "")).says(r"""
            This looks like a mean without the division by $1-\bar\alpha_t$.
            The factors of $\hat x_0$ and $x_t$ in the mean share a denominator.
            Divide both by $1-\bar\alpha_t$."""),
        Mistake(
            "alpha for alpha_bar", ("(1 - a).sqrt() * eps) / a.sqrt()", "b.sqrt() * eps) / (1 - b).sqrt()")
        ).says(r"""
            This looks like $\alpha_t$ in the guess of $x_0$, where $\bar\alpha_t$ belongs.
            How much of the image is left in $x_t$: what one step leaves, or what all steps so far leave?
            $\bar\alpha_t$ is the product of all $\alpha$ up to t: `(1 - beta).cumprod(0)[t]`."""),
        Mistake("x0 without the root", ("prev.sqrt()", "prev")).says(r"""
            This looks like $\bar\alpha_{t-1}$ in front of $\hat x_0$, without its root.
            Look at the posterior's mean again: which factors stand under a root?
            `alpha_bar_prev ** 0.5 * beta[t]`."""),
        Mistake("alpha_prev for alpha_bar_prev", ("prev.sqrt()", "(1 - beta[t - 1] if t else prev).sqrt()")).says(r"""
            This looks like $\sqrt{\alpha_{t-1}}$ in front of $\hat x_0$: a bar is missing.
            $\hat x_0$ is as it was at the start. How much of it is left at $t-1$?
            $\sqrt{\bar\alpha_{t-1}}\,\beta_t$."""),
        Mistake("no roots in the mean", ("prev.sqrt()", "prev", "(1 - b).sqrt()", "(1 - b)")).says("""
            This looks like a mean whose two weights have no roots.
            The weights multiply images, not variances. Look at (2.11): which factors stand under a root?
            `prev.sqrt()` in front of the guess, `(1 - b).sqrt()` in front of `xt`."""),
        Mistake("noise without the root", ("(xt - (1 - a).sqrt()", "(xt - (1 - a)")).says(r"""
            This looks like the noise taken out of $x_t$ times $1 - \bar\alpha_t$.
            $1 - \bar\alpha_t$ is the *variance* of the noise in $x_t$. What stands before $\epsilon$ itself?
            `(1 - alpha_bar[t]) ** 0.5 * eps`."""),
        Mistake("no roots in the guess", ("(xt - (1 - a).sqrt()", "(xt - (1 - a)", "/ a.sqrt()", "/ a")).says(r"""
            This looks like the guess of the image without its two roots.
            $\bar\alpha_t$ and $1 - \bar\alpha_t$ are shares of the *variance*. What are the factors of image and noise?
            `(xt - (1 - alpha_bar[t]) ** 0.5 * eps) / alpha_bar[t] ** 0.5`."""),
        Mistake("guess not rescaled", (" / a.sqrt()", "")).says(r"""
            This looks like a guess of $x_0$ without the division by $\sqrt{\bar\alpha_t}$.
            Take the noise out of $x_t$: what is left, $x_0$ or a dimmed $x_0$?
            Divide by $\sqrt{\bar\alpha_t}$."""),
        Mistake("noise added in the guess", ("(xt - ", "(xt + ")).says("""
            This looks like noise *added* in the guess of $x_0$.
            $x_t$ already holds the noise. What do you have to do to get rid of it?
            Subtract it."""),
        Mistake("the posterior's variance", ("= b.sqrt()", "= (b * (1 - prev) / (1 - a)).sqrt()")).says(r"""
            This looks like the other choice, $\sigma_t^2 = \tilde\beta_t$.
            It is a good choice too, but here the task asks for $\sigma_t^2 = \beta_t$.
            The factor of `z` is `beta[t] ** 0.5`, and 0 at t = 0."""),
        halved(),
        own_noise("z", like="xt"),
    ),
    consequence="That is `p_sample`, line for line. Without the clip it would be the step of notebook 04, by (11.1).",
)


def spaced_variances(alpha_bar: Tensor, times: list[int]) -> Tensor:
    """The variances of the steps back, given the image, in the chain that visits only ``times``, rising."""
    visited = alpha_bar[times]
    before = torch.cat((torch.ones_like(visited[:1]), visited[:-1]))
    beta = 1 - visited / before
    return beta * (1 - before) / (1 - visited)


def replaced_betas(times: list[int]) -> tuple[Tensor, ...]:
    """For each large step the betas of the small ones that it replaces."""
    return BETA.tensor_split([t + 1 for t in times])[:-1]


check_spaced_variances = Exercise(
    solution=spaced_variances,
    cases=[(ALPHA_BAR, [1, 3, 7]), (ALPHA_BAR, [0, 2, 3, 6]), (ALPHA_BAR, [2, 5])],
    mistakes=(
        Mistake("a subset of beta", ("1 - visited / before", "BETA[times]")).says(r"""
            This looks like the old betas at the visited times.
            One step now does the work of several. Can it add as little noise as one of them did?
            Ask that $\bar\alpha$ be right at the visited times, and solve for $\beta'$."""),
        Mistake("difference for ratio", ("1 - visited / before", "before - visited")).says(r"""
            This looks like the *difference* of two $\bar\alpha$.
            $\bar\alpha$ is a product of $\alpha$. How does one take the last factors out of a product?
            $1 - \bar\alpha_{\tau_i} / \bar\alpha_{\tau_{i-1}}$."""),
        Mistake("alpha_bar[0] for 1", ("torch.ones_like(visited[:1])", "alpha_bar[:1]")).says(r"""
            This looks right but for the first step, which starts from `alpha_bar[0]`.
            Index 0 already holds noise. What is $\bar\alpha$ of the image itself?
            Put a 1 in front of the visited alpha_bars before you divide."""),
        Mistake("the last one first", ("torch.ones_like(visited[:1])", "visited[-1:]")).says("""
            This looks right but for the first step, which is divided by the *last* alpha_bar.
            `roll(1)` brings the last element to the front, and so does index -1. What should stand there?
            Put a 1 in front of the visited alpha_bars before you divide."""),
        Mistake("alpha for beta", ("1 - visited /", "visited /")).says(r"""
            This looks like $\alpha'$, the ratio itself.
            $\alpha' = 1 - \beta'$.
            Subtract the ratio from 1."""),
        Mistake("ratio minus one", ("1 - visited / before", "visited / before - 1")).says("""
            This looks like the ratio minus 1: every sign is turned round.
            A beta is a variance. Which sign has it?
            Subtract the ratio from 1."""),
        Mistake("ratio turned round", ("visited / before", "before / visited")).says(r"""
            This looks like $1 - \bar\alpha_\mathrm{before} / \bar\alpha_\mathrm{after}$; it is negative.
            $\bar\alpha$ falls with t. Which of the two is smaller?
            Divide the later one by the earlier one."""),
        Mistake(
            "sum of beta", ("1 - visited / before", "torch.stack([b.sum() for b in replaced_betas(times)])")
        ).says(r"""
            This looks like the sum of the small betas that a large step replaces.
            Each small step also dims the noise of those before it. Is a plain sum too large or too small?
            Products, not sums: $1 - \prod (1-\beta)$, and the product is a ratio of two $\bar\alpha$."""),
        Mistake(
            "product of beta", ("1 - visited / before", "torch.stack([b.prod() for b in replaced_betas(times)])")
        ).says(r"""
            This looks like the product of the small betas.
            What multiplies from step to step is what is *left*, $\alpha$.
            $1 - \prod (1-\beta)$."""),
        Mistake("no bar", (" / before", "")).says(r"""
            This looks like $1 - \bar\alpha$: all the noise since the image.
            A step adds what has come since the *last visited time*.
            Divide $\bar\alpha$ by its value at the visited time before."""),
        Mistake("the first step forgotten", lambda *case: spaced_variances(*case)[1:]).says(r"""
            This looks right, but the first step is missing.
            Before the first visited time comes the image itself. What is $\bar\alpha$ there?
            Put a 1 in front of the visited alpha_bars before you divide."""),
        Mistake("the neighbour for the one before", ("visited[:-1]", "alpha_bar[[t - 1 for t in times[1:]]]")).says(r"""
            This looks like $\bar\alpha_{t-1}$ in the ratio, where $\bar\alpha$ at the visited time before belongs.
            The time before t in the *shorter* chain is not t - 1.
            `alpha_bar[times[i]] / alpha_bar[times[i - 1]]`."""),
        Mistake("roots", ("visited / before", "(visited / before).sqrt()")).says(r"""
            This looks like $1 - \sqrt{\alpha'}$.
            $\sqrt{\alpha'}$ multiplies the image. $\beta'$ is a variance.
            Leave out the root."""),
        Mistake("backwards", lambda *case: spaced_variances(*case).flip(0)).says("""
            These look like the right numbers from the last to the first.
            Sampling goes from the last time to the first, but a schedule is written from the first on.
            Return them in the order of `times`."""),
        Mistake("the betas themselves", (" * (1 - before) / (1 - visited)", "")).says(r"""
            These are the betas of the shorter chain: variances of its steps *forward*.
            Section 1: which variance has the step back of someone who knows the image?
            $\tilde\beta'_i = \beta'_i\,(1 - \bar\alpha_{\tau_{i-1}}) / (1 - \bar\alpha_{\tau_i})$."""),
        Mistake("variances of the long chain", lambda _, times: BETA_TILDE[times]).says(r"""
            This looks like the variances of the *long* chain at the visited times.
            A step over several times has a $\beta'$ of its own, and the time before it is the visited one.
            First (11.3), then $\tilde\beta$ from $\beta'$ and the two visited $\bar\alpha$."""),
        Mistake("bar of the neighbour", ("(1 - before)", "(1 - (ALPHA_BAR / (1 - BETA))[times])")).says(r"""
            The betas are right. In the factor stands $\bar\alpha_{t-1}$ of the long chain.
            The state before is that of the visited time before. How much noise does it hold?
            $1 - \bar\alpha_{\tau_{i-1}}$, the same $\bar\alpha$ that you have divided by."""),
        Mistake("factor turned round", ("(1 - before) / (1 - visited)", "(1 - visited) / (1 - before)")).says("""
            The betas are right, but the factor is upside down: it divides by 0 in the first step.
            Who knows the image is *surer* than the step forward. Should the factor be above 1 or below?
            `(1 - before) / (1 - visited)`."""),
        Mistake("bars without the 1", ("(1 - before) / (1 - visited)", "before / visited")).says(r"""
            The betas are right. The factor looks like a ratio of two $\bar\alpha$.
            What is left of the image, or what has come of noise: which of the two makes the step back unsure?
            $(1 - \bar\alpha_{\tau_{i-1}}) / (1 - \bar\alpha_{\tau_i})$."""),
        Mistake("standard deviations", lambda *case: spaced_variances(*case).sqrt()).says("""
            These look like the roots of the right numbers.
            A variance is asked for, not a standard deviation.
            Leave out the root."""),
    ),
    consequence="So a network trained for 1000 steps can be used with any number of them, and nothing is trained anew. "
    "What it costs is the next question.",
)
