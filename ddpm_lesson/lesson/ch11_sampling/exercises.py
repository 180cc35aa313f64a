"""Exercises of notebook 11: a clipped step back, the variances of fewer steps, a DDIM step, a step of inpainting."""

from functools import partial
from typing import Any

import torch
from torch import Tensor

from ddpm_lesson.lesson.kit.exercise import Exercise, Mistake, numbers

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
    return 1.5 * doubles(*shape, seed=seed), doubles(*shape, seed=seed + 1), t, BETA, doubles(*shape, seed=seed + 2)


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
        Mistake(
            "the first step forgotten",
            ("return beta * (1 - before) / (1 - visited)", "return (beta * (1 - before) / (1 - visited))[1:]"),
        ).says(r"""
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
        Mistake(
            "backwards",
            ("return beta * (1 - before) / (1 - visited)", "return (beta * (1 - before) / (1 - visited)).flip(0)"),
        ).says("""
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
        Mistake("square roots", ("return beta", "return beta.sqrt()")).says("""
            This looks like a root of the betas.
            A variance is asked for, not a standard deviation.
            Leave out the root."""),
    ),
    consequence="So a network trained for 1000 steps can be used with any number of them, and nothing is trained anew. "
    "What it costs is the next question.",
)


def ddim_step(xt: Tensor, eps: Tensor, alpha_bar: float, alpha_bar_prev: float, eta: float, z: Tensor) -> Tensor:
    """A step of DDIM from one time to an earlier one, with the guess clipped."""
    a, prev = alpha_bar, alpha_bar_prev
    sigma2 = eta**2 * (1 - a / prev) * (1 - prev) / (1 - a)
    x0_hat = ((xt - (1 - a) ** 0.5 * eps) / a**0.5).clamp(-1, 1)
    noise = (xt - a**0.5 * x0_hat) / (1 - a) ** 0.5
    return prev**0.5 * x0_hat + (1 - prev - sigma2) ** 0.5 * noise + sigma2**0.5 * z


def ddim_case(alpha_bar: float, prev: float, eta: float, *shape: int, seed: int) -> tuple[Any, ...]:
    """Noisy data, the noise in them, two times, and fresh noise."""
    xt, eps, z = (doubles(*shape, seed=seed + i) for i in range(3))
    return xt, eps, alpha_bar, prev, eta, z


check_ddim_step = Exercise(
    solution=ddim_step,
    cases=[
        ddim_case(0.2, 0.5, 0.0, 3, 1, 2, 2, seed=20),
        ddim_case(0.2, 0.3, 1.0, 6, seed=30),
        ddim_case(0.05, 0.3, 0.5, 4, 2, seed=40),
    ],
    mistakes=(
        Mistake("not clipped", (".clamp(-1, 1)", "")).says(r"""
            This looks like a step with $\hat x_0$ as it is, not clipped.
            Where do the values of an image lie?
            `.clamp(-1, 1)` on the guess, before anything is made of it."""),
        Mistake("noise of the guess before the clip", ("(xt - a**0.5 * x0_hat) / (1 - a) ** 0.5", "eps")).says(r"""
            This looks like the network's own noise beside a clipped guess: the two no longer make $x_t$.
            Who changes the guess of the image changes the guess of the noise. Which noise goes with the clipped one?
            $(x_t - \sqrt{\bar\alpha_t}\,\hat x_0) / \sqrt{1-\bar\alpha_t}$ with the clipped $\hat x_0$."""),
        Mistake("noise clipped too", (") / (1 - a) ** 0.5\n", ").clamp(-1, 1) / (1 - a) ** 0.5\n")).says(r"""
            This looks like a clip on the way to the noise as well.
            Images lie between -1 and 1. Does noise?
            Clip the guess of the image, and nothing else."""),
        Mistake(
            "state clipped",
            (
                "return prev**0.5 * x0_hat + (1 - prev - sigma2) ** 0.5 * noise + sigma2**0.5 * z",
                "return (prev**0.5 * x0_hat + (1 - prev - sigma2) ** 0.5 * noise + sigma2**0.5 * z).clamp(-1, 1)",
            ),
        ).says(r"""
            This looks like a clip of the new state as well.
            $x_\mathrm{prev}$ holds noise, and noise has no bounds.
            Clip the guess, never the state."""),
        Mistake("sigma for its square", ("- sigma2)", "- sigma2**0.5)")).says(r"""
            This looks like $\sigma$ under the root, where $\sigma^2$ belongs.
            Under the root stand variances.
            $\sqrt{1-\bar\alpha_\mathrm{prev}-\sigma^2}$."""),
        Mistake("noise of the old time", ("(1 - prev - sigma2)", "(1 - a - sigma2)")).says(r"""
            This looks like $\bar\alpha_t$ under the root, where $\bar\alpha_\mathrm{prev}$ belongs.
            How much noise should be in the state at the *earlier* time?
            $\sqrt{1-\bar\alpha_\mathrm{prev}-\sigma^2}$."""),
        Mistake("noise added in the guess", ("(xt - (1", "(xt + (1")).says("""
            This looks like noise *added* in the guess of $x_0$.
            $x_t$ already holds the noise. What do you have to do to get rid of it?
            Subtract it."""),
        Mistake("fraction turned round", ("(1 - prev) / (1 - a)", "(1 - a) / (1 - prev)")).says(r"""
            This looks like $\tilde\beta'$ with its fraction turned round.
            $\tilde\beta'$ must be less than $\beta'$. Where is more noise, at $t$ or before?
            $\tilde\beta' = \beta'\,(1-\bar\alpha_\mathrm{prev})/(1-\bar\alpha_t)$."""),
        Mistake("difference for ratio", ("(1 - a / prev)", "(prev - a)")).says(r"""
            This looks like $\bar\alpha_\mathrm{prev} - \bar\alpha_t$ for $\beta'$.
            $\bar\alpha$ is a product. How does one take the last factors out of it?
            $\beta' = 1 - \bar\alpha_t / \bar\alpha_\mathrm{prev}$."""),
        Mistake("xt for eps", ("* noise +", "* xt +")).says("""
            This looks like $x_t$ in the second term, where the noise belongs.
            The second term puts noise back: the same noise that was in $x_t$, a little less of it.
            `(1 - alpha_bar_prev - sigma2) ** 0.5` times the noise."""),
        Mistake("direction without the root", ("sigma2) ** 0.5", "sigma2)")).says(r"""
            This looks like the noise multiplied by a variance; a root is missing.
            Which factor gives noise of variance $1-\bar\alpha_\mathrm{prev}-\sigma^2$?
            Take the root of the factor in front of the noise."""),
        Mistake("guess not rescaled", (" / a**0.5", "")).says(r"""
            This looks like $\hat x_0$ without the division by $\sqrt{\bar\alpha_t}$.
            Without the noise $x_t$ is $\sqrt{\bar\alpha_t}\,x_0$, not $x_0$.
            Divide by $\sqrt{\bar\alpha_t}$."""),
        Mistake("the two times swapped", ("x0_hat =", "a, prev = prev, a; x0_hat =")).says(r"""
            This looks like $\bar\alpha_t$ and $\bar\alpha_\mathrm{prev}$ swapped.
            $\hat x_0$ comes from $x_t$, so it needs $\bar\alpha_t$. The new state is at the earlier time.
            $\bar\alpha_t$ belongs in $\hat x_0$, $\bar\alpha_\mathrm{prev}$ in the two terms of the new state."""),
        Mistake("eta ignored", ("eta**2", "0")).says(r"""
            This looks like a step without fresh noise, whatever eta is.
            What does eta = 1 ask for?
            $\sigma^2 = \eta^2\,\tilde\beta'$."""),
        Mistake("full noise whatever eta is", ("eta**2", "1")).says(r"""
            This looks like eta = 1, whatever eta is.
            Where does eta stand in the formula for the variance?
            $\sigma^2 = \eta^2\,\tilde\beta'$."""),
        Mistake("eta not squared", ("eta**2", "eta")).says(r"""
            This looks like $\sigma^2 = \eta\,\tilde\beta'$.
            eta multiplies the standard deviation.
            $\sigma = \eta \sqrt{\tilde\beta'}$, so $\sigma^2 = \eta^2\,\tilde\beta'$."""),
        Mistake("noise on top", ("(1 - prev - sigma2)", "(1 - prev)")).says(r"""
            This looks like fresh noise in addition to all of the old noise.
            Old and fresh noise together may only have the variance $1-\bar\alpha_\mathrm{prev}$.
            The old noise keeps what is left: $\sqrt{1-\bar\alpha_\mathrm{prev}-\sigma^2}$."""),
        Mistake("fresh noise forgotten", (" + sigma2**0.5 * z", "")).says(r"""
            This looks as if the old noise made room for fresh noise that never comes.
            There is a third term.
            Add $\sigma z$."""),
        Mistake("variance for std", ("sigma2**0.5", "sigma2")).says(r"""
            This looks like fresh noise multiplied by $\sigma^2$.
            `z` has variance 1. Which factor gives it the variance sigma squared?
            Multiply `z` by the root."""),
        Mistake(
            "beta for the posterior's variance", ("= eta", "= min(eta", " * (1 - prev) / (1 - a)", ", 1 - prev)")
        ).says(r"""
            This looks like $\sigma^2 = \eta^2\,\beta'$ (at most $1-\bar\alpha_\mathrm{prev}$).
            Which of the two variances can never exceed the noise that $x_\mathrm{prev}$ should hold?
            $\tilde\beta' = \beta'\,(1-\bar\alpha_\mathrm{prev})/(1-\bar\alpha_t)$."""),
        Mistake("image dimmed twice", ("prev**0.5", "prev")).says(r"""
            This looks like $\bar\alpha_\mathrm{prev}$ in front of $\hat x_0$, without its root.
            $x_\mathrm{prev}$ must be $\sqrt{\bar\alpha_\mathrm{prev}}\,x_0$ plus noise.
            `alpha_bar_prev ** 0.5`."""),
        Mistake("image at the old time", ("prev**0.5", "a**0.5")).says(r"""
            This looks like $\sqrt{\bar\alpha_t}$ in front of $\hat x_0$.
            How much of the image should be left at the *earlier* time?
            $\sqrt{\bar\alpha_\mathrm{prev}}$."""),
    ),
    consequence="At eta = 0 nothing in it is random: the start decides the picture. At eta = 1 it is Algorithm 2 with "
    "the posterior's variance, by (11.7).",
)


def inpaint_step(known: Tensor, mask: Tensor, x_prev: Tensor, t: int, alpha_bar: Tensor, eps: Tensor) -> Tensor:
    """What is known, with the noise of t - 1, over what the model drew there."""
    prev = alpha_bar[t - 1] if t else torch.ones_like(alpha_bar[0])
    known_part = prev.sqrt() * known + (1 - prev).sqrt() * eps
    return torch.where(mask, known_part, x_prev)


def inpaint_case(t: int, *shape: int, seed: int) -> tuple[Any, ...]:
    """An image, which of it is known, the model's x_prev, a time, the schedule and noise."""
    mask = torch.rand(shape, generator=torch.Generator().manual_seed(seed)) > 0.4
    image, x_prev, eps = (doubles(*shape, seed=seed + i) for i in (1, 2, 3))
    return image.tanh(), mask, x_prev, t, ALPHA_BAR, eps


check_inpaint_step = Exercise(
    solution=inpaint_step,
    cases=[
        inpaint_case(5, 2, 1, 4, 4, seed=50),
        inpaint_case(0, 3, 4, seed=60),
        inpaint_case(1, 10, seed=70),
        inpaint_case(7, 2, 3, seed=80),
    ],
    mistakes=(
        Mistake("noised to t", ("[t - 1] if t else torch.ones_like(alpha_bar[0])", "[t]")).says("""
            This looks like the known part with the noise of t, where that of t - 1 belongs.
            `x_prev` is one step further back than t. Both parts must have the same noise.
            `alpha_bar[t - 1]`, and no noise at all at t = 0."""),
        Mistake("noised to t, clean at the end", ("[t - 1]", "[t]")).says("""
            This looks right at t = 0. Before, the known part has the noise of t, where that of t - 1 belongs.
            `x_prev` is one step further back than t. Both parts must have the same noise.
            `alpha_bar[t - 1]`."""),
        Mistake("no roots at all", ("prev.sqrt()", "prev", "(1 - prev).sqrt()", "(1 - prev)")).says(r"""
            This looks like $\bar\alpha_{t-1}$ parts image and $1-\bar\alpha_{t-1}$ parts noise.
            These are shares of variance. Which numbers multiply the image and the noise themselves?
            Take the root of both."""),
        Mistake("image dimmed by its variance", ("prev.sqrt()", "prev")).says(r"""
            This looks like $\bar\alpha_{t-1}$ in front of the image, without its root.
            Look at both coefficients of the forward formula: is one root missing?
            `alpha_bar[t - 1] ** 0.5 * known`."""),
        Mistake("coefficients swapped", ("* known", "* (eps if t else known)", "* eps\n", "* known\n")).says(r"""
            This looks like the roots of image and noise swapped.
            At small t, $\bar\alpha$ is nearly 1. Which of the two should be seen then?
            `alpha_bar[t - 1] ** 0.5 * known + (1 - alpha_bar[t - 1]) ** 0.5 * eps`."""),
        Mistake("mask inverted", ("known_part, x_prev", "x_prev, known_part")).says("""
            This looks as if the hidden part were kept and the known part drawn.
            `mask` is True where the image is known.
            `torch.where(mask, known_part, x_prev)`."""),
        Mistake("known part not noised", ("mask, known_part", "mask, known")).says("""
            This looks like the clean image put into a noisy one.
            The network will see the result at time t - 1. How noisy does it expect it to be?
            Noise the known part to t - 1 first."""),
        Mistake("noise at the end too", ("[t - 1] if t else torch.ones_like(alpha_bar[0])", "[max(t - 1, 0)]")).says("""
            This looks right everywhere but at t = 0, where the known part still gets noise.
            After t = 0 comes the finished picture. Should what you knew be noisy in it?
            At t = 0 put `known` in as it is."""),
        Mistake("index -1 at the end", (" if t else torch.ones_like(alpha_bar[0])", "")).says("""
            This looks right everywhere but at t = 0, where index -1 is the *last* time: the known part drowns.
            What is `alpha_bar[-1]` in Python?
            At t = 0 put `known` in as it is."""),
        Mistake("variance for std", ("(1 - prev).sqrt()", "(1 - prev)")).says(r"""
            This looks like noise multiplied by its variance $1-\bar\alpha_{t-1}$.
            Look at both coefficients of the forward formula: is one root missing?
            `(1 - alpha_bar[t - 1]) ** 0.5 * eps`."""),
        Mistake("image not dimmed", ("prev.sqrt() * known", "known")).says(r"""
            This looks like noise added to the image at full strength.
            What multiplies the image in the forward formula?
            $\sqrt{\bar\alpha_{t-1}}$ times `known`."""),
        Mistake("averaged", ("mask, known_part", "mask, (known_part + x_prev) / 2")).says("""
            This looks like an average of what is known and what the model drew.
            Where the image is known, what can the model add?
            Replace the known part altogether."""),
        Mistake("own noise", ("* eps", "* torch.randn_like(known)")).says("""
            This looks like noise that you drew yourself.
            It would do just as well. But here `eps` is given, so that your step can be checked.
            Use the argument `eps`."""),
    ),
    consequence="A model trained to draw whole digits now completes them, and has never been told what a hole is.",
)
