"""The step back, with its fresh noise."""

from collections.abc import Callable
from functools import partial

import torch  # noqa: F401 (for an edit below)
from torch import Tensor

from ddpm_lesson.lesson.ch04_noise_prediction.exercises.guesses import BETA, check_mean_from_eps, mean_from_eps
from ddpm_lesson.lesson.kit.exercise import Exercise, Mistake, halved, numbers


def reverse_step(
    xt: Tensor, eps: Tensor, t: int, beta: Tensor, z: Tensor, mean: Callable[..., Tensor] = mean_from_eps
) -> Tensor:
    """One step of Algorithm 2, with sigma^2 = beta and ``z`` for the fresh noise."""
    sigma = beta[t] ** 0.5 if t > 0 else 0.0
    return mean(xt, eps, t, beta) + sigma * z


def posterior_var(t: int, beta: Tensor) -> Tensor:
    """Variance of x_{t-1} given x_t and x_0, for t > 0."""
    alpha_bar = (1 - beta).cumprod(0)
    return beta[t] * (1 - alpha_bar[t - 1]) / (1 - alpha_bar[t])


def with_wrong_mean(mistake: Mistake) -> Mistake:
    """A step with the right noise on a mean that is wrong in a way known from Exercise 2."""
    looks_like, *hints = mistake.words
    words = (f"The fresh noise is right. The mean is wrong, as it may be in Exercise 2. {looks_like}", *hints)
    return Mistake(f"mean: {mistake.name}", partial(reverse_step, mean=mistake.function), words)


check_reverse_step = Exercise(
    solution=reverse_step,
    cases=[
        (numbers(4, 1, 2, 2, seed=1), numbers(4, 1, 2, 2, seed=2), 5, BETA, numbers(4, 1, 2, 2, seed=3)),
        (numbers(5, seed=4), numbers(5, seed=5), 0, BETA, numbers(5, seed=6)),
        (numbers(2, 3, seed=7), numbers(2, 3, seed=8), 2, BETA, numbers(2, 3, seed=9)),
        (numbers(3, 2, seed=10), numbers(3, 2, seed=11), 1, BETA, numbers(3, 2, seed=12)),
        (numbers(2, 4, seed=13), numbers(2, 4, seed=14), 7, BETA, numbers(2, 4, seed=15)),
    ],
    mistakes=(
        Mistake("noise at the last step", (" if t > 0 else 0.0", "")).says("""
            This looks right everywhere but at t = 0, where it still adds noise.
            After t = 0 nobody comes to remove the noise.
            Add `sigma * z` only if `t > 0`."""),
        Mistake("variance for std", (" ** 0.5", "")).says(r"""
            This looks like fresh noise multiplied by the variance $\beta_t$.
            To get noise of variance $\beta_t$ from `z`, which has variance 1, multiply by ...?
            Multiply by `beta[t] ** 0.5`."""),
        Mistake("variance for std, and at the last step too", (" ** 0.5 if t > 0 else 0.0", "")).says(r"""
            This looks like fresh noise multiplied by the variance $\beta_t$, and added at t = 0 as well.
            Two things: which power of beta multiplies `z`, and what happens at the very last step?
            Multiply by `beta[t] ** 0.5`, and by nothing at t = 0."""),
        Mistake("the other end", ("t > 0", "t < len(beta) - 1")).says("""
            This looks like no noise at the *first* step back, t = T - 1, and noise at the last.
            Sampling runs from t = T - 1 down to t = 0. Which of the two is the last step?
            `sigma * z` if `t > 0`, and nothing at t = 0."""),
        Mistake("all the noise put back", ("beta[t]", "(1 - (1 - beta).cumprod(0)[t])")).says(r"""
            This looks like $\sqrt{1-\bar\alpha_t}\,z$.
            That is the noise of all steps so far. One step back adds the noise of one step.
            Without the bar: `(1 - alpha[t]) ** 0.5`, which is `beta[t] ** 0.5`."""),
        halved(),
        Mistake("no fresh noise", (" + sigma * z", "")).says(r"""
            This looks like the mean alone.
            A step back is a *draw* from a Gaussian.
            Add $\sqrt{\beta_t}\,z$ for t > 0."""),
        Mistake("the wrong end", ("t > 0", "t == 0")).says("""
            This looks like fresh noise at t = 0 only.
            t = 0 is the last step, the one without noise.
            Turn the condition round: noise if `t > 0`."""),
        Mistake("the paper's t", ("t > 0", "t > 1")).says("""
            This looks like no noise at t = 1, which would be right in the paper's count.
            The paper counts from 1, code from 0. Which code index is the last step?
            Code index 0 is the paper's step 1: noise if `t > 0`."""),
        Mistake("noise unscaled", ("beta[t] ** 0.5", "1.0")).says(r"""
            This looks like `z` added as it is.
            `z` has variance 1. Which variance should the fresh noise have?
            Multiply `z` by $\sigma_t = \sqrt{\beta_t}$."""),
        Mistake("noise inside the bracket", ("sigma * z", "sigma * z / (1 - beta[t]) ** 0.5")).says(r"""
            This looks like the fresh noise inside the bracket, divided by $\sqrt{\alpha_t}$ as well.
            Mean first, then noise of exactly the variance that was asked for.
            Close the bracket and divide before you add `sigma * z`."""),
        Mistake("own noise", ("* z", "* torch.randn_like(xt)")).says("""
            This looks like noise that you drew yourself.
            It would sample just as well. But here `z` is given, so that your step can be checked.
            Use the argument `z`."""),
        Mistake("the posterior's variance", ("beta[t]", "posterior_var(t, beta)")).says(r"""
            This looks like the other choice, $\sigma_t^2 = \tilde\beta_t$.
            Here the task asks for $\sigma_t^2 = \beta_t$.
            The factor of `z` is `beta[t] ** 0.5`."""),
        *map(with_wrong_mean, check_mean_from_eps.known),
    ),
    consequence="You have written Algorithm 2. The step without noise at the end is missing from quite a few "
    "implementations; look for it in the next one you read.",
)
