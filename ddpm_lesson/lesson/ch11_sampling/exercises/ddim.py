"""A step of DDIM."""

from typing import Any

from torch import Tensor

from ddpm_lesson.lesson.ch11_sampling.exercises.chain import doubles
from ddpm_lesson.lesson.kit.exercise import Exercise, Mistake, halved, own_noise


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
        Mistake("state clipped", lambda *case: ddim_step(*case).clamp(-1, 1)).says(r"""
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
        halved(),
        own_noise("z", like="xt"),
    ),
    consequence="At eta = 0 nothing in it is random: the start decides the picture. At eta = 1 it is Algorithm 2 with "
    "the posterior's variance, by (11.7).",
)
