"""Exercises of notebook 11: a clipped step back, the betas of fewer steps, a DDIM step, a step of inpainting."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from ddpm_lesson.lesson.kit.exercise import Exercise, Mistake

BETA = torch.linspace(0.02, 0.5, 8, dtype=torch.float64)
ALPHA_BAR = (1 - BETA).cumprod(0)


def numbers(*shape: int, seed: int) -> Tensor:
    """Standard normal numbers, the same for the same seed."""
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


# clipped_step


def right_guess(xt: Tensor, eps: Tensor, alpha_bar: Tensor) -> Tensor:
    """x0_hat, clipped."""
    return ((xt - (1 - alpha_bar).sqrt() * eps) / alpha_bar.sqrt()).clamp(-1, 1)


def right_mean(x0: Tensor, xt: Tensor, t: int, beta: Tensor) -> Tensor:
    """The posterior's mean."""
    alpha_bar, prev = bars(t, beta)
    return (prev.sqrt() * beta[t] * x0 + (1 - beta[t]).sqrt() * (1 - prev) * xt) / (1 - alpha_bar)


def bars(t: int, beta: Tensor) -> tuple[Tensor, Tensor]:
    """alpha_bar at t, and one step earlier."""
    alpha_bar = (1 - beta).cumprod(0)
    return alpha_bar[t], alpha_bar[t - 1] if t else torch.ones((), dtype=beta.dtype)


def right_sigma(t: int, beta: Tensor) -> Any:
    """sigma = sqrt(beta), and none at the last step."""
    return beta[t].sqrt() if t else 0.0


def clipped(
    guess: Callable[..., Tensor] = right_guess,
    mean: Callable[..., Tensor] = right_mean,
    sigma: Callable[..., Any] = right_sigma,
    after: Callable[[Tensor], Tensor] = lambda x: x,
) -> Callable[..., Tensor]:
    """A learner's step: a guess of x0, a mean from it, noise of a size, and what is done at the end."""

    def step(xt: Tensor, eps: Tensor, t: int, beta: Tensor, z: Tensor) -> Tensor:
        x0 = guess(xt, eps, bars(t, beta)[0])
        return after(mean(x0, xt, t, beta) + sigma(t, beta) * z)

    return step


def unclipped(xt: Tensor, eps: Tensor, alpha_bar: Tensor) -> Tensor:
    """x0_hat as it comes."""
    return (xt - (1 - alpha_bar).sqrt() * eps) / alpha_bar.sqrt()


def mean_with(x0_coef: Callable[..., Any], xt_coef: Callable[..., Any]) -> Callable[..., Tensor]:
    """A mean with coefficients of (beta, alpha_bar, alpha_bar_prev) over 1 - alpha_bar."""

    def mean(x0: Tensor, xt: Tensor, t: int, beta: Tensor) -> Tensor:
        alpha_bar, prev = bars(t, beta)
        return (x0_coef(beta[t], alpha_bar, prev) * x0 + xt_coef(beta[t], alpha_bar, prev) * xt) / (1 - alpha_bar)

    return mean


def mean_from_the_far_end(x0: Tensor, xt: Tensor, t: int, beta: Tensor) -> Tensor:
    """The posterior's mean with alpha_bar[t - 1] at every t, which at t = 0 is the last one."""
    alpha_bar = (1 - beta).cumprod(0)
    prev = alpha_bar[t - 1]
    return (prev.sqrt() * beta[t] * x0 + (1 - beta[t]).sqrt() * (1 - prev) * xt) / (1 - alpha_bar[t])


def right_x0_coef(beta: Tensor, alpha_bar: Tensor, prev: Tensor) -> Tensor:
    """Of x0 in the posterior's mean, times 1 - alpha_bar."""
    return prev.sqrt() * beta


def right_xt_coef(beta: Tensor, alpha_bar: Tensor, prev: Tensor) -> Tensor:
    """Of x_t in the posterior's mean, times 1 - alpha_bar."""
    return (1 - beta).sqrt() * (1 - prev)


def clipped_case(t: int, *shape: int, seed: int) -> tuple[Any, ...]:
    """A noisy batch, noise of which some guesses leave [-1, 1], a time, the schedule and fresh noise."""
    return 1.5 * numbers(*shape, seed=seed), numbers(*shape, seed=seed + 1), t, BETA, numbers(*shape, seed=seed + 2)


check_clipped_step = Exercise(
    function="clipped_step",
    solution=clipped(),
    cases=[
        clipped_case(5, 4, 1, 3, 3, seed=1),
        clipped_case(0, 6, 2, seed=4),
        clipped_case(1, 5, 3, seed=7),
        clipped_case(7, 12, seed=10),
    ],
    mistakes=(
        Mistake("noise at the last step", clipped(sigma=lambda t, beta: beta[t].sqrt())).says("""
            This looks right everywhere but at t = 0, where it still adds noise.
            At t = 0 the mean is the picture. Who would remove the noise that you add?
            Add `sigma * z` only if `t > 0`."""),
        Mistake("not clipped", clipped(guess=unclipped)).says(r"""
            This looks like a step with $\hat x_0$ as it comes.
            Some of the guesses lie outside [-1, 1], where no picture lives.
            `x0_hat.clamp(-1, 1)` before it goes into the mean."""),
        Mistake("the result clipped", clipped(guess=unclipped, after=lambda x: x.clamp(-1, 1))).says(r"""
            This looks like $x_{t-1}$ clipped, in place of $\hat x_0$.
            $x_{t-1}$ holds noise, and noise may well leave [-1, 1]. What may not?
            Clip $\hat x_0$ and leave $x_{t-1}$ alone."""),
        Mistake("guess and result clipped", clipped(after=lambda x: x.clamp(-1, 1))).says(r"""
            This looks like $\hat x_0$ clipped, and then $x_{t-1}$ clipped as well.
            $x_{t-1}$ holds noise, and noise may well leave [-1, 1].
            Clip $\hat x_0$ and leave $x_{t-1}$ alone."""),
        Mistake("clipped to [0, 1]", clipped(guess=lambda xt, eps, a: unclipped(xt, eps, a).clamp(0, 1))).says("""
            This looks like a clip to [0, 1].
            Which range do the images of this lesson have?
            `clamp(-1, 1)`."""),
        Mistake("variance for std", clipped(sigma=lambda t, beta: beta[t] if t else 0.0)).says(r"""
            This looks like fresh noise multiplied by the variance $\beta_t$.
            To get noise of variance $\beta_t$ from `z`, which has variance 1, multiply by ...?
            Multiply by `beta[t] ** 0.5`."""),
        Mistake("no fresh noise", clipped(sigma=lambda t, beta: 0.0)).says(r"""
            This looks like the mean alone.
            A step of Algorithm 2 is a *draw* from a Gaussian.
            Add $\sqrt{\beta_t}\,z$ for t > 0."""),
        Mistake(
            "alpha_bar for alpha", clipped(mean=mean_with(right_x0_coef, lambda b, a, p: a.sqrt() * (1 - p)))
        ).says(r"""
            This looks like $\sqrt{\bar\alpha_t}$ in front of $x_t$, where $\sqrt{\alpha_t}$ belongs.
            The coefficient of $x_t$ has one bar, in $1-\bar\alpha_{t-1}$.
            `(1 - beta[t]) ** 0.5 * (1 - alpha_bar_prev)`."""),
        Mistake(
            "alpha_bar of t for the one before",
            clipped(mean=mean_with(lambda b, a, p: a.sqrt() * b, lambda b, a, p: (1 - b).sqrt() * (1 - a))),
        ).says(r"""
            This looks like $\bar\alpha_t$ in the mean, where $\bar\alpha_{t-1}$ belongs.
            Which noise level does $x_{t-1}$ have?
            `alpha_bar[t - 1] if t > 0 else 1.0`."""),
        Mistake(
            "alpha without the root", clipped(mean=mean_with(right_x0_coef, lambda b, a, p: (1 - b) * (1 - p)))
        ).says(r"""
            This looks like $\alpha_t$ in front of $x_t$, without its root.
            Which factors of the mean stand under a root?
            `(1 - beta[t]) ** 0.5 * (1 - alpha_bar_prev)`."""),
        Mistake(
            "guess divided by alpha_bar",
            clipped(guess=lambda xt, eps, a: ((xt - (1 - a).sqrt() * eps) / a).clamp(-1, 1)),
        ).says(r"""
            This looks like a division by $\bar\alpha_t$ in the guess.
            By how much is the image dimmed in $x_t$?
            Divide by $\sqrt{\bar\alpha_t}$."""),
        Mistake("index -1 at the end", clipped(mean=mean_from_the_far_end)).says(r"""
            This looks right everywhere but at t = 0, where index -1 is the *last* time.
            What is `alpha_bar[-1]` in Python, and what should stand before the first time?
            $\bar\alpha$ before index 0 is 1: `alpha_bar[t - 1] if t > 0 else 1.0`."""),
        Mistake(
            "mean not divided",
            clipped(mean=lambda x0, xt, t, beta: right_mean(x0, xt, t, beta) * (1 - bars(t, beta)[0])),
        ).says(r"""
            This looks like a mean without the division by $1-\bar\alpha_t$.
            The factors of $\hat x_0$ and $x_t$ in the mean share a denominator.
            Divide both by $1-\bar\alpha_t$."""),
        Mistake(
            "alpha for alpha_bar",
            clipped(guess=lambda xt, eps, a: unclipped(xt, eps, 1 - BETA[(ALPHA_BAR - a).abs().argmin()]).clamp(-1, 1)),
        ).says(r"""
            This looks like $\alpha_t$ in the guess of $x_0$, where $\bar\alpha_t$ belongs.
            How much of the image is left in $x_t$: what one step leaves, or what all steps so far leave?
            $\bar\alpha_t$ is the product of all $\alpha$ up to t: `(1 - beta).cumprod(0)[t]`."""),
        Mistake("x0 without the root", clipped(mean=mean_with(lambda b, a, p: p * b, right_xt_coef))).says(r"""
            This looks like $\bar\alpha_{t-1}$ in front of $\hat x_0$, without its root.
            Look at the posterior's mean again: which factors stand under a root?
            `alpha_bar_prev ** 0.5 * beta[t]`."""),
        Mistake(
            "alpha_prev for alpha_bar_prev",
            clipped(
                mean=lambda x0, xt, t, beta: mean_with(
                    lambda b, a, p: (1 - beta[t - 1]).sqrt() * b if t else b, right_xt_coef
                )(x0, xt, t, beta)
            ),
        ).says(r"""
            This looks like $\sqrt{\alpha_{t-1}}$ in front of $\hat x_0$: a bar is missing.
            $\hat x_0$ is as it was at the start. How much of it is left at $t-1$?
            $\sqrt{\bar\alpha_{t-1}}\,\beta_t$."""),
        Mistake(
            "guess not rescaled", clipped(guess=lambda xt, eps, a: (xt - (1 - a).sqrt() * eps).clamp(-1, 1))
        ).says(r"""
            This looks like a guess of $x_0$ without the division by $\sqrt{\bar\alpha_t}$.
            Take the noise out of $x_t$: what is left, $x_0$ or a dimmed $x_0$?
            Divide by $\sqrt{\bar\alpha_t}$."""),
        Mistake(
            "noise added in the guess",
            clipped(guess=lambda xt, eps, a: ((xt + (1 - a).sqrt() * eps) / a.sqrt()).clamp(-1, 1)),
        ).says("""
            This looks like noise *added* in the guess of $x_0$.
            $x_t$ already holds the noise. What do you have to do to get rid of it?
            Subtract it."""),
        Mistake(
            "the posterior's variance",
            clipped(sigma=lambda t, beta: (beta[t] * (1 - bars(t, beta)[1]) / (1 - bars(t, beta)[0])).sqrt()),
        ).says(r"""
            This looks like the other choice, $\sigma_t^2 = \tilde\beta_t$.
            It is a good choice too, but here the task asks for $\sigma_t^2 = \beta_t$.
            The factor of `z` is `beta[t] ** 0.5`, and 0 at t = 0."""),
    ),
    consequence="That is `p_sample`, line for line. Without the clip it would be the step of notebook 04, by (11.1).",
)


# spaced_betas


def spaced_betas(alpha_bar: Tensor, times: list[int]) -> Tensor:
    """The betas of the chain that visits only ``times``, rising."""
    visited, before = neighbours(alpha_bar, times)
    return 1 - visited / before


def difference(alpha_bar: Tensor, times: list[int]) -> Tensor:
    """How far alpha_bar falls from one visited time to the next."""
    visited, before = neighbours(alpha_bar, times)
    return before - visited


def neighbours(alpha_bar: Tensor, times: list[int]) -> tuple[Tensor, Tensor]:
    """alpha_bar at the visited times, and at the visited time before each; 1 before the first."""
    visited = alpha_bar[times]
    return visited, torch.cat((torch.ones(1, dtype=alpha_bar.dtype), visited[:-1]))


def single_betas(alpha_bar: Tensor) -> Tensor:
    """The betas of the whole chain."""
    return spaced_betas(alpha_bar, list(range(len(alpha_bar))))


def group_sums(alpha_bar: Tensor, times: list[int], reduce: Callable[[Tensor], Tensor]) -> Tensor:
    """The small betas between two visited times, each group reduced to one number."""
    ends = [0, *(t + 1 for t in times)]
    beta = single_betas(alpha_bar)
    return torch.stack([reduce(beta[a:b]) for a, b in pairwise(ends)])


def by_neighbours(alpha_bar: Tensor, times: list[int]) -> Tensor:
    """Right at the first time, and the betas of single steps after it."""
    return torch.cat((spaced_betas(alpha_bar, times)[:1], single_betas(alpha_bar)[times][1:]))


check_spaced_betas = Exercise(
    function="spaced_betas",
    solution=spaced_betas,
    cases=[(ALPHA_BAR, [1, 3, 7]), (ALPHA_BAR, [0, 2, 3, 6]), (ALPHA_BAR, [2, 5])],
    mistakes=(
        Mistake("a subset of beta", lambda alpha_bar, times: single_betas(alpha_bar)[times]).says(r"""
            This looks like the old betas at the visited times.
            One step now does the work of several. Can it add as little noise as one of them did?
            Ask that $\bar\alpha$ be right at the visited times, and solve for $\beta'$."""),
        Mistake("difference for ratio", difference).says(r"""
            This looks like the *difference* of two $\bar\alpha$.
            $\bar\alpha$ is a product of $\alpha$. How does one take the last factors out of a product?
            $1 - \bar\alpha_{\tau_i} / \bar\alpha_{\tau_{i-1}}$."""),
        Mistake(
            "alpha_bar[0] for 1",
            lambda alpha_bar, times: 1 - alpha_bar[times] / torch.cat((alpha_bar[:1], alpha_bar[times][:-1])),
        ).says(r"""
            This looks right but for the first step, which starts from `alpha_bar[0]`.
            Index 0 already holds noise. What is $\bar\alpha$ of the image itself?
            Put a 1 in front of the visited alpha_bars before you divide."""),
        Mistake("the last one first", lambda alpha_bar, times: 1 - alpha_bar[times] / alpha_bar[times].roll(1)).says("""
            This looks right but for the first step, which is divided by the *last* alpha_bar.
            `roll(1)` brings the last element to the front, and so does index -1. What should stand there?
            Put a 1 in front of the visited alpha_bars before you divide."""),
        Mistake("alpha for beta", lambda alpha_bar, times: 1 - spaced_betas(alpha_bar, times)).says(r"""
            This looks like $\alpha'$, the ratio itself.
            $\alpha' = 1 - \beta'$.
            Subtract the ratio from 1."""),
        Mistake("ratio minus one", lambda alpha_bar, times: -spaced_betas(alpha_bar, times)).says("""
            This looks like the ratio minus 1: every sign is turned round.
            A beta is a variance. Which sign has it?
            Subtract the ratio from 1."""),
        Mistake("ratio turned round", lambda alpha_bar, times: 1 - 1 / (1 - spaced_betas(alpha_bar, times))).says(r"""
            This looks like $1 - \bar\alpha_\mathrm{before} / \bar\alpha_\mathrm{after}$; it is negative.
            $\bar\alpha$ falls with t. Which of the two is smaller?
            Divide the later one by the earlier one."""),
        Mistake("sum of beta", lambda alpha_bar, times: group_sums(alpha_bar, times, torch.sum)).says(r"""
            This looks like the sum of the small betas that a large step replaces.
            Each small step also dims the noise of those before it. Is a plain sum too large or too small?
            Products, not sums: $1 - \prod (1-\beta)$, and the product is a ratio of two $\bar\alpha$."""),
        Mistake("product of beta", lambda alpha_bar, times: group_sums(alpha_bar, times, torch.prod)).says(r"""
            This looks like the product of the small betas.
            What multiplies from step to step is what is *left*, $\alpha$.
            $1 - \prod (1-\beta)$."""),
        Mistake("no bar", lambda alpha_bar, times: 1 - alpha_bar[times]).says(r"""
            This looks like $1 - \bar\alpha$: all the noise since the image.
            A step adds what has come since the *last visited time*.
            Divide $\bar\alpha$ by its value at the visited time before."""),
        Mistake("the first step forgotten", lambda alpha_bar, times: spaced_betas(alpha_bar, times)[1:]).says(r"""
            This looks right, but the first step is missing.
            Before the first visited time comes the image itself. What is $\bar\alpha$ there?
            Put a 1 in front of the visited alpha_bars before you divide."""),
        Mistake(
            "the neighbour for the one before",
            lambda alpha_bar, times: torch.cat(
                (spaced_betas(alpha_bar, times)[:1], single_betas(alpha_bar)[times][1:])
            ),
        ).says(r"""
            This looks like $\bar\alpha_{t-1}$ in the ratio, where $\bar\alpha$ at the visited time before belongs.
            The time before t in the *shorter* chain is not t - 1.
            `alpha_bar[times[i]] / alpha_bar[times[i - 1]]`."""),
        Mistake("roots", lambda alpha_bar, times: 1 - (1 - spaced_betas(alpha_bar, times)).sqrt()).says(r"""
            This looks like $1 - \sqrt{\alpha'}$.
            $\sqrt{\alpha'}$ multiplies the image. $\beta'$ is a variance.
            Leave out the root."""),
        Mistake("backwards", lambda alpha_bar, times: spaced_betas(alpha_bar, times).flip(0)).says("""
            These look like the right numbers from the last to the first.
            Sampling goes from the last time to the first, but a schedule is written from the first on.
            Return them in the order of `times`."""),
    ),
    consequence="So a network trained for 1000 steps can be used with any number of them, and nothing is trained anew. "
    "What it costs is the next question.",
)


# ddim_step


def ddim_sigma2(alpha_bar: float, prev: float, eta: float) -> float:
    """Variance of the fresh noise."""
    return eta**2 * (1 - alpha_bar / prev) * (1 - prev) / (1 - alpha_bar)


def ddim_with(
    guess: Callable[..., Tensor] = lambda xt, eps, a: (xt - (1 - a) ** 0.5 * eps) / a**0.5,
    direction: Callable[..., Tensor] = lambda xt, eps, x0, prev, s2: (1 - prev - s2) ** 0.5 * eps,
    sigma2: Callable[..., float] = ddim_sigma2,
    scale: Callable[[float], float] = lambda s2: s2**0.5,
    signal: Callable[[float, float], float] = lambda a, prev: prev**0.5,
) -> Callable[..., Tensor]:
    """A learner's DDIM step, put together from a guess of x0, a direction, and noise."""

    def step(xt: Tensor, eps: Tensor, alpha_bar: float, alpha_bar_prev: float, eta: float, z: Tensor) -> Tensor:
        x0 = guess(xt, eps, alpha_bar)
        s2 = sigma2(alpha_bar, alpha_bar_prev, eta)
        towards = direction(xt, eps, x0, alpha_bar_prev, s2)
        return signal(alpha_bar, alpha_bar_prev) * x0 + towards + scale(s2) * z

    return step


def swapped_times(xt: Tensor, eps: Tensor, alpha_bar: float, alpha_bar_prev: float, eta: float, z: Tensor) -> Tensor:
    """A step from prev to t, the wrong way."""
    x0 = (xt - (1 - alpha_bar_prev) ** 0.5 * eps) / alpha_bar_prev**0.5
    s2 = ddim_sigma2(alpha_bar, alpha_bar_prev, eta)
    return alpha_bar**0.5 * x0 + max(0.0, 1 - alpha_bar - s2) ** 0.5 * eps + s2**0.5 * z


def noise_of_the_old_time(
    xt: Tensor, eps: Tensor, alpha_bar: float, alpha_bar_prev: float, eta: float, z: Tensor
) -> Tensor:
    """A step that keeps as much noise as there should be at t."""
    step = ddim_with(direction=lambda xt, eps, x0, prev, s2: (1 - alpha_bar - s2) ** 0.5 * eps)
    return step(xt, eps, alpha_bar, alpha_bar_prev, eta, z)


def ddim_case(alpha_bar: float, prev: float, eta: float, *shape: int, seed: int) -> tuple[Any, ...]:
    """Noisy data, the noise in them, two times, and fresh noise."""
    return (
        numbers(*shape, seed=seed),
        numbers(*shape, seed=seed + 1),
        alpha_bar,
        prev,
        eta,
        numbers(*shape, seed=seed + 2),
    )


check_ddim_step = Exercise(
    function="ddim_step",
    solution=ddim_with(),
    cases=[
        ddim_case(0.2, 0.5, 0.0, 3, 1, 2, 2, seed=20),
        ddim_case(0.2, 0.3, 1.0, 6, seed=30),
        ddim_case(0.05, 0.3, 0.5, 4, 2, seed=40),
    ],
    mistakes=(
        Mistake(
            "clipped", ddim_with(guess=lambda xt, eps, a: ((xt - (1 - a) ** 0.5 * eps) / a**0.5).clamp(-1, 1))
        ).says(r"""
            This looks like a step with $\hat x_0$ clipped.
            A good habit, by section 2. But the task says: no clipping here.
            Leave out the clip. (With it, the noise would have to be that of the clipped guess.)"""),
        Mistake(
            "sigma for its square", ddim_with(direction=lambda xt, eps, x0, prev, s2: (1 - prev - s2**0.5) ** 0.5 * eps)
        ).says(r"""
            This looks like $\sigma$ under the root, where $\sigma^2$ belongs.
            Under the root stand variances.
            $\sqrt{1-\bar\alpha_\mathrm{prev}-\sigma^2}$."""),
        Mistake("noise of the old time", noise_of_the_old_time).says(r"""
            This looks like $\bar\alpha_t$ under the root, where $\bar\alpha_\mathrm{prev}$ belongs.
            How much noise should be in the state at the *earlier* time?
            $\sqrt{1-\bar\alpha_\mathrm{prev}-\sigma^2}$."""),
        Mistake(
            "noise added in the guess", ddim_with(guess=lambda xt, eps, a: (xt + (1 - a) ** 0.5 * eps) / a**0.5)
        ).says("""
            This looks like noise *added* in the guess of $x_0$.
            $x_t$ already holds the noise. What do you have to do to get rid of it?
            Subtract it."""),
        Mistake(
            "fraction turned round",
            ddim_with(sigma2=lambda a, prev, eta: eta**2 * (1 - a / prev) * (1 - a) / (1 - prev)),
        ).says(r"""
            This looks like $\tilde\beta'$ with its fraction turned round.
            $\tilde\beta'$ must be less than $\beta'$. Where is more noise, at $t$ or before?
            $\tilde\beta' = \beta'\,(1-\bar\alpha_\mathrm{prev})/(1-\bar\alpha_t)$."""),
        Mistake(
            "difference for ratio", ddim_with(sigma2=lambda a, prev, eta: eta**2 * (prev - a) * (1 - prev) / (1 - a))
        ).says(r"""
            This looks like $\bar\alpha_\mathrm{prev} - \bar\alpha_t$ for $\beta'$.
            $\bar\alpha$ is a product. How does one take the last factors out of it?
            $\beta' = 1 - \bar\alpha_t / \bar\alpha_\mathrm{prev}$."""),
        Mistake("xt for eps", ddim_with(direction=lambda xt, eps, x0, prev, s2: (1 - prev - s2) ** 0.5 * xt)).says("""
            This looks like $x_t$ in the second term, where the noise belongs.
            The second term puts noise back: the same noise that was in $x_t$, a little less of it.
            `(1 - alpha_bar_prev - sigma2) ** 0.5 * eps`."""),
        Mistake(
            "direction without the root", ddim_with(direction=lambda xt, eps, x0, prev, s2: (1 - prev - s2) * eps)
        ).says(r"""
            This looks like the noise multiplied by a variance; a root is missing.
            Which factor gives noise of variance $1-\bar\alpha_\mathrm{prev}-\sigma^2$?
            Take the root of the factor in front of `eps`."""),
        Mistake("guess not rescaled", ddim_with(guess=lambda xt, eps, a: xt - (1 - a) ** 0.5 * eps)).says(r"""
            This looks like $\hat x_0$ without the division by $\sqrt{\bar\alpha_t}$.
            Without the noise $x_t$ is $\sqrt{\bar\alpha_t}\,x_0$, not $x_0$.
            Divide by $\sqrt{\bar\alpha_t}$."""),
        Mistake("the two times swapped", swapped_times).says(r"""
            This looks like $\bar\alpha_t$ and $\bar\alpha_\mathrm{prev}$ swapped.
            $\hat x_0$ comes from $x_t$, so it needs $\bar\alpha_t$. The new state is at the earlier time.
            $\bar\alpha_t$ belongs in $\hat x_0$, $\bar\alpha_\mathrm{prev}$ in the two terms of the new state."""),
        Mistake("eta ignored", ddim_with(sigma2=lambda a, prev, eta: 0.0)).says(r"""
            This looks like a step without fresh noise, whatever eta is.
            What does eta = 1 ask for?
            $\sigma^2 = \eta^2\,\tilde\beta'$."""),
        Mistake(
            "full noise whatever eta is", ddim_with(sigma2=lambda a, prev, eta: ddim_sigma2(a, prev, 1.0))
        ).says(r"""
            This looks like eta = 1, whatever eta is.
            Where does eta stand in the formula for the variance?
            $\sigma^2 = \eta^2\,\tilde\beta'$."""),
        Mistake("eta not squared", ddim_with(sigma2=lambda a, prev, eta: ddim_sigma2(a, prev, eta**0.5))).says(r"""
            This looks like $\sigma^2 = \eta\,\tilde\beta'$.
            eta multiplies the standard deviation.
            $\sigma = \eta \sqrt{\tilde\beta'}$, so $\sigma^2 = \eta^2\,\tilde\beta'$."""),
        Mistake("noise on top", ddim_with(direction=lambda xt, eps, x0, prev, s2: (1 - prev) ** 0.5 * eps)).says(r"""
            This looks like fresh noise in addition to all of the old noise.
            Old and fresh noise together may only have the variance $1-\bar\alpha_\mathrm{prev}$.
            The old noise keeps what is left: $\sqrt{1-\bar\alpha_\mathrm{prev}-\sigma^2}$."""),
        Mistake("fresh noise forgotten", ddim_with(scale=lambda s2: 0.0)).says(r"""
            This looks as if the old noise made room for fresh noise that never comes.
            There is a third term.
            Add $\sigma z$."""),
        Mistake("variance for std", ddim_with(scale=lambda s2: s2)).says(r"""
            This looks like fresh noise multiplied by $\sigma^2$.
            `z` has variance 1. Which factor gives it the variance sigma squared?
            Multiply `z` by the root."""),
        Mistake(
            "beta for the posterior's variance",
            ddim_with(
                sigma2=lambda a, prev, eta: min(eta**2 * (1 - a / prev), 1 - prev),
            ),
        ).says(r"""
            This looks like $\sigma^2 = \eta^2\,\beta'$ (at most $1-\bar\alpha_\mathrm{prev}$).
            Which of the two variances can never exceed the noise that $x_\mathrm{prev}$ should hold?
            $\tilde\beta' = \beta'\,(1-\bar\alpha_\mathrm{prev})/(1-\bar\alpha_t)$."""),
        Mistake("image dimmed twice", ddim_with(signal=lambda a, prev: prev)).says(r"""
            This looks like $\bar\alpha_\mathrm{prev}$ in front of $\hat x_0$, without its root.
            $x_\mathrm{prev}$ must be $\sqrt{\bar\alpha_\mathrm{prev}}\,x_0$ plus noise.
            `alpha_bar_prev ** 0.5`."""),
        Mistake("image at the old time", ddim_with(signal=lambda a, prev: a**0.5)).says(r"""
            This looks like $\sqrt{\bar\alpha_t}$ in front of $\hat x_0$.
            How much of the image should be left at the *earlier* time?
            $\sqrt{\bar\alpha_\mathrm{prev}}$."""),
    ),
    consequence="At eta = 0 nothing in it is random: the start decides the picture. At eta = 1 it is Algorithm 2 with "
    "the posterior's variance, by (11.7).",
)


# inpaint_step


def paste(noised: Callable[..., Tensor], inverted: bool = False) -> Callable[..., Tensor]:
    """A learner's step: the known part, noised in some way, over the hidden part of the model's x_prev."""

    def step(known: Tensor, mask: Tensor, x_prev: Tensor, t: int, alpha_bar: Tensor, eps: Tensor) -> Tensor:
        seen = noised(known, t, alpha_bar, eps)
        return torch.where(mask, x_prev, seen) if inverted else torch.where(mask, seen, x_prev)

    return step


def noised_to_prev(known: Tensor, t: int, alpha_bar: Tensor, eps: Tensor) -> Tensor:
    """The known image with the noise of t - 1; as it is where there is no t - 1."""
    return noised_to(known, t - 1, alpha_bar, eps) if t else known


def noised_to(known: Tensor, t: int, alpha_bar: Tensor, eps: Tensor) -> Tensor:
    """q_sample."""
    return alpha_bar[t].sqrt() * known + (1 - alpha_bar[t]).sqrt() * eps


def averaged(known: Tensor, mask: Tensor, x_prev: Tensor, t: int, alpha_bar: Tensor, eps: Tensor) -> Tensor:
    """Half of the known part, half of what the model drew there."""
    seen = noised_to_prev(known, t, alpha_bar, eps)
    return torch.where(mask, (seen + x_prev) / 2, x_prev)


def inpaint_case(t: int, *shape: int, seed: int) -> tuple[Any, ...]:
    """An image, which of it is known, the model's x_prev, a time, the schedule and noise."""
    mask = torch.rand(shape, generator=torch.Generator().manual_seed(seed)) > 0.4
    return (
        numbers(*shape, seed=seed + 1).tanh(),
        mask,
        numbers(*shape, seed=seed + 2),
        t,
        ALPHA_BAR,
        numbers(*shape, seed=seed + 3),
    )


check_inpaint_step = Exercise(
    function="inpaint_step",
    solution=paste(noised_to_prev),
    cases=[
        inpaint_case(5, 2, 1, 4, 4, seed=50),
        inpaint_case(0, 3, 4, seed=60),
        inpaint_case(1, 10, seed=70),
    ],
    mistakes=(
        Mistake("noised to t", paste(noised_to)).says("""
            This looks like the known part with the noise of t, where that of t - 1 belongs.
            `x_prev` is one step further back than t. Both parts must have the same noise.
            `alpha_bar[t - 1]`, and no noise at all at t = 0."""),
        Mistake(
            "noised to t, clean at the end",
            paste(lambda known, t, alpha_bar, eps: noised_to(known, t, alpha_bar, eps) if t else known),
        ).says("""
            This looks right at t = 0. Before, the known part has the noise of t, where that of t - 1 belongs.
            `x_prev` is one step further back than t. Both parts must have the same noise.
            `alpha_bar[t - 1]`."""),
        Mistake(
            "image dimmed by its variance",
            paste(
                lambda known, t, alpha_bar, eps: (
                    alpha_bar[t - 1] * known + (1 - alpha_bar[t - 1]).sqrt() * eps if t else known
                )
            ),
        ).says(r"""
            This looks like $\bar\alpha_{t-1}$ in front of the image, without its root.
            Look at both coefficients of the forward formula: is one root missing?
            `alpha_bar[t - 1] ** 0.5 * known`."""),
        Mistake(
            "coefficients swapped",
            paste(lambda known, t, alpha_bar, eps: noised_to(eps, t - 1, alpha_bar, known) if t else known),
        ).says(r"""
            This looks like the roots of image and noise swapped.
            At small t, $\bar\alpha$ is nearly 1. Which of the two should be seen then?
            `alpha_bar[t - 1] ** 0.5 * known + (1 - alpha_bar[t - 1]) ** 0.5 * eps`."""),
        Mistake("mask inverted", paste(noised_to_prev, inverted=True)).says("""
            This looks as if the hidden part were kept and the known part drawn.
            `mask` is True where the image is known.
            `torch.where(mask, known_part, x_prev)`."""),
        Mistake("known part not noised", paste(lambda known, t, alpha_bar, eps: known)).says("""
            This looks like the clean image put into a noisy one.
            The network will see the result at time t - 1. How noisy does it expect it to be?
            Noise the known part to t - 1 first."""),
        Mistake(
            "noise at the end too",
            paste(lambda known, t, alpha_bar, eps: noised_to(known, max(t - 1, 0), alpha_bar, eps)),
        ).says("""
            This looks right everywhere but at t = 0, where the known part still gets noise.
            After t = 0 comes the finished picture. Should what you knew be noisy in it?
            At t = 0 put `known` in as it is."""),
        Mistake(
            "index -1 at the end", paste(lambda known, t, alpha_bar, eps: noised_to(known, t - 1, alpha_bar, eps))
        ).says("""
            This looks right everywhere but at t = 0, where index -1 is the *last* time: the known part drowns.
            What is `alpha_bar[-1]` in Python?
            At t = 0 put `known` in as it is."""),
        Mistake(
            "variance for std",
            paste(
                lambda known, t, alpha_bar, eps: (
                    alpha_bar[t - 1].sqrt() * known + (1 - alpha_bar[t - 1]) * eps if t else known
                )
            ),
        ).says(r"""
            This looks like noise multiplied by its variance $1-\bar\alpha_{t-1}$.
            Look at both coefficients of the forward formula: is one root missing?
            `(1 - alpha_bar[t - 1]) ** 0.5 * eps`."""),
        Mistake(
            "image not dimmed",
            paste(lambda known, t, alpha_bar, eps: known + (1 - alpha_bar[t - 1]).sqrt() * eps if t else known),
        ).says(r"""
            This looks like noise added to the image at full strength.
            What multiplies the image in the forward formula?
            $\sqrt{\bar\alpha_{t-1}}$ times `known`."""),
        Mistake("averaged", averaged).says("""
            This looks like an average of what is known and what the model drew.
            Where the image is known, what can the model add?
            Replace the known part altogether."""),
        Mistake(
            "own noise",
            paste(lambda known, t, alpha_bar, eps: noised_to_prev(known, t, alpha_bar, torch.randn_like(known))),
        ).says("""
            This looks like noise that you drew yourself.
            It would do just as well. But here `eps` is given, so that your step can be checked.
            Use the argument `eps`."""),
    ),
    consequence="A model trained to draw whole digits now completes them, and has never been told what a hole is.",
)
