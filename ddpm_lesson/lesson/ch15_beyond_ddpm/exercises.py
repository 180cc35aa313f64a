"""Exercises of notebook 15: image and score, a step of Heun, targets, min-SNR, and guidance with the paper's weight."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from ddpm_lesson.lesson.kit.exercise import Exercise, Mistake, halved, numbers

doubles = partial(numbers, dtype=torch.float64)


def image_by_score(xt: Tensor, score: Tensor, alpha_bar: float) -> Tensor:
    """E[x0 | x_t]: equation (15.2)."""
    return (xt + (1 - alpha_bar) * score) / alpha_bar**0.5


check_image_by_score = Exercise(
    solution=image_by_score,
    cases=[
        (doubles(4, 1, 3, 3, seed=1), doubles(4, 1, 3, 3, seed=2), 0.3),
        (doubles(6, seed=3), doubles(6, seed=4), 0.98),
        (doubles(2, 5, seed=5), doubles(2, 5, seed=6), 0.004),
    ],
    mistakes=(
        Mistake("sign", ("xt + ", "xt - ")).says("""
            This looks like a step *against* the score.
            The score points to where data are denser. Which way does the best guess lie?
            `xt + (1 - alpha_bar) * score`: the minus of (15.1) is in the score already."""),
        Mistake("std for variance", ("(1 - alpha_bar) * score", "(1 - alpha_bar) ** 0.5 * score")).says(r"""
            This looks like the score times $\sqrt{1-\bar\alpha_t}$.
            That is minus the noise. How much of the noise is in $x_t$?
            One root from (15.1) and one from $x_t$ make $1-\bar\alpha_t$."""),
        Mistake("score for noise", ("+ (1 - alpha_bar) * score", "- (1 - alpha_bar) ** 0.5 * score")).says(r"""
            This looks like the score put where the noise belongs in the formula of notebook 04.
            By (15.1) the noise is $-\sqrt{1-\bar\alpha_t}$ times the score.
            Put that in: `xt + (1 - alpha_bar) * score`, then divide."""),
        Mistake("not rescaled", (" / alpha_bar**0.5", "")).says(r"""
            This looks like a guess of the dimmed image.
            $x_t$ holds $\sqrt{\bar\alpha_t}\,x_0$. What is left to do?
            Divide by $\sqrt{\bar\alpha_t}$."""),
        Mistake("only the score rescaled", ("(xt + (1 - alpha_bar) * score)", "xt + (1 - alpha_bar) * score")).says(r"""
            This looks like the score alone divided by $\sqrt{\bar\alpha_t}$.
            $x_t$ is dimmed as well. Which of the two does your division reach?
            Brackets: `(xt + (1 - alpha_bar) * score) / alpha_bar**0.5`."""),
        Mistake("divided without the root", ("alpha_bar**0.5", "alpha_bar")).says(r"""
            This looks like a division by $\bar\alpha_t$.
            By how much was the image dimmed, as a factor and not as a variance?
            Divide by $\sqrt{\bar\alpha_t}$."""),
        Mistake("variance of the image", ("(1 - alpha_bar) * score", "alpha_bar * score")).says(r"""
            This looks like $\bar\alpha_t$ in front of the score.
            The score is small where there is much noise. Which variance brings it back to the units of x?
            That of the noise, $1-\bar\alpha_t$."""),
        Mistake("score not weighted", ("(1 - alpha_bar) * ", "")).says(r"""
            This looks like the score added as it is.
            A score has the units of one over x. Which variance brings it to the units of x?
            `(1 - alpha_bar) * score`."""),
        halved(),
    ),
    consequence="So whoever can denoise knows the score, and whoever knows the score can denoise. Tweedie's formula "
    "(1956) is older than neural networks.",
)


def linear(y: Tensor, r: float) -> Tensor:
    """The slope of data N(0, 1 / 4), whose exact noise is known."""
    return r * y / (0.25 + r * r)


def wavy(y: Tensor, r: float) -> Tensor:
    """Some slope that depends on both."""
    return torch.sin(2 * y + 3 * r)


def heun_step(y: Tensor, r: float, r_prev: float, slope: Callable[[Tensor, float], Tensor]) -> Tensor:
    """From noise level r to r_prev with the mean of two slopes: equation (15.6)."""
    first = slope(y, r)
    second = slope(y + (r_prev - r) * first, r_prev)
    return y + (r_prev - r) * (first + second) / 2


def euler_at_the_end(y: Tensor, r: float, r_prev: float, slope: Callable[[Tensor, float], Tensor]) -> Tensor:
    """Heun's step, but Euler's into r = 0."""
    return heun_step(y, r, r_prev, slope) if r_prev else y + (r_prev - r) * slope(y, r)


def midpoint(y: Tensor, r: float, r_prev: float, slope: Callable[[Tensor, float], Tensor]) -> Tensor:
    """The other well-known method of second order."""
    half = y + (r_prev - r) / 2 * slope(y, r)
    return y + (r_prev - r) * slope(half, (r + r_prev) / 2)


check_heun_step = Exercise(
    solution=heun_step,
    cases=[
        (doubles(5, 1, seed=1), 2.0, 0.7, linear),
        (doubles(3, 2, 2, seed=2), 0.9, 0.1, wavy),
        (doubles(4, seed=3), 0.3, 0.0, wavy),
    ],
    mistakes=(
        Mistake("Euler", ("(first + second) / 2", "first")).says("""
            This looks like Euler's step, which is DDIM.
            What did you ask the second slope for?
            Go back to `y` and take the whole step with `(first + second) / 2`."""),
        Mistake("the slope at the end only", ("(first + second) / 2", "second")).says("""
            This looks like a step with the second slope alone.
            Euler takes the slope at one end, and this the one at the other. Heun takes both.
            `(first + second) / 2`."""),
        Mistake("slopes added", (" / 2", "")).says("""
            This looks like a step with both slopes added up.
            That goes twice as far as it should.
            Take their mean: divide by 2."""),
        Mistake("second slope at y", ("y + (r_prev - r) * first, r_prev", "y, r_prev")).says("""
            This looks like a second slope that was asked at `y`.
            At the noise level `r_prev` you are not at `y` any more. Where does the first slope take you?
            `slope(y + (r_prev - r) * first, r_prev)`."""),
        Mistake("second slope at r", ("first, r_prev)", "first, r)")).says("""
            This looks like a second slope that was asked at the old noise level.
            The trial step has arrived at `r_prev`. What must the network be told?
            `slope(..., r_prev)`."""),
        Mistake(
            "half a trial step, at r_prev", ("slope(y + (r_prev - r) * first", "slope(y + (r_prev - r) / 2 * first")
        ).says("""
            This looks like a trial step of half the length, judged at its full end.
            Heun's trial step goes all the way.
            `y + (r_prev - r) * first`, and there the slope at `r_prev`."""),
        Mistake("Euler at the end", euler_at_the_end).says("""
            This looks like Karras et al.'s Algorithm 1, which takes Euler's step where `r_prev` is 0.
            They must: their network knows no noise level of 0. The slope here does.
            The same two slopes for `r_prev = 0`."""),
        Mistake("trial step the wrong way", ("slope(y + (r_prev - r)", "slope(y - (r_prev - r)")).says("""
            This looks like a trial step towards more noise, and the true one towards less.
            Both go from `r` to `r_prev`.
            `slope(y + (r_prev - r) * first, r_prev)`."""),
        Mistake("true step the wrong way", ("return y + (r_prev - r)", "return y - (r_prev - r)")).says("""
            This looks like a trial step towards less noise, and the true one towards more.
            Both go from `r` to `r_prev`.
            `y + (r_prev - r) * (first + second) / 2`."""),
        Mistake("only the second halved", ("(first + second) / 2", "first + second / 2")).says("""
            This looks like half of the second slope, added to the step.
            Products and divisions bind more tightly than sums.
            Brackets: `(r_prev - r) * (first + second) / 2`."""),
        Mistake("without its length", ("return y + (r_prev - r) * ", "return y + ")).says("""
            This looks like the mean slope, added without the length of the step.
            A slope is a change of y by change of r. How much does r change?
            Multiply by `r_prev - r`."""),
        Mistake("midpoint", midpoint).says("""
            This looks like the midpoint method: right, of second order too, but another one.
            Here the second slope is asked at the end of the step, and both are used.
            Trial step to `r_prev`; then the mean of both slopes."""),
        Mistake(
            "from the trial point", ("return y + (r_prev - r)", "return y + (r_prev - r) * first + (r_prev - r)")
        ).says("""
            This looks like a whole step more, on top of the trial step.
            The trial step was to look only.
            Start from `y` again."""),
        Mistake(
            "backwards",
            (
                "y + (r_prev - r) * first",
                "y + (r - r_prev) * first",
                "return y + (r_prev - r)",
                "return y + (r - r_prev)",
            ),
        ).says("""
            This looks like a step towards more noise.
            `r_prev` is smaller than `r`, so the change of r is negative.
            Multiply slopes by `r_prev - r`."""),
    ),
    consequence="Two questions a step, and an error that falls with the square of the step. The package's "
    "`heun_steps` does this between the visited times.",
)


def image_and_noise(xt: Tensor, v: Tensor, alpha_bar: float) -> tuple[Tensor, Tensor]:
    """x0_hat and eps_hat of a network that answers v: Salimans and Ho 2022, Appendix D."""
    x0_hat = alpha_bar**0.5 * xt - (1 - alpha_bar) ** 0.5 * v
    eps_hat = (1 - alpha_bar) ** 0.5 * xt + alpha_bar**0.5 * v
    return x0_hat, eps_hat


def as_if_noise(xt: Tensor, v: Tensor, alpha_bar: float) -> tuple[Tensor, Tensor]:
    """What an answer eps would mean."""
    return (xt - (1 - alpha_bar) ** 0.5 * v) / alpha_bar**0.5, v


check_image_and_noise = Exercise(
    solution=image_and_noise,
    cases=[
        (doubles(4, 1, 3, 3, seed=1), doubles(4, 1, 3, 3, seed=2), 0.3),
        (doubles(6, seed=3), doubles(6, seed=4), 0.98),
        (doubles(2, 5, seed=5), doubles(2, 5, seed=6), 0.004),
        (doubles(3, seed=7), doubles(3, seed=8), 0.0),
    ],
    mistakes=(
        Mistake(
            "signs exchanged", ("* xt - ", "* xt + ", "* xt + alpha_bar**0.5 * v", "* xt - alpha_bar**0.5 * v")
        ).says(
            r"""
            This looks like v with the other sign.
            Does $v$ hold $+\epsilon$ or $-\epsilon$, and $+x_0$ or $-x_0$?
            $v$ is subtracted on the way to the image, and added on the way to the noise."""
        ),
        Mistake("both added", ("* xt - ", "* xt + ")).says(r"""
            This looks like v added on the way to the image.
            $v$ holds the image with a minus. Multiply it by $\sqrt{1-\bar\alpha_t}$: which sign makes the image add up?
            A minus before `(1 - alpha_bar) ** 0.5 * v`."""),
        Mistake("both subtracted", ("* xt + alpha_bar**0.5 * v", "* xt - alpha_bar**0.5 * v")).says(r"""
            This looks like v subtracted on the way to the noise.
            $v$ holds the noise with a plus. Which sign makes the noise add up?
            A plus before `alpha_bar**0.5 * v`."""),
        Mistake("roots exchanged", lambda xt, v, alpha_bar: image_and_noise(xt, v, 1 - alpha_bar)).says(r"""
            This looks like the two roots in each other's place.
            Near the data $x_t$ is nearly the image. Which root is near 1 there?
            $\sqrt{\bar\alpha_t}$ stands before $x_t$ in the image, and before $v$ in the noise."""),
        Mistake("noise first", ("return x0_hat, eps_hat", "return eps_hat, x0_hat")).says("""
            This looks like the noise first and the image second.
            Both are right; look at their order.
            `return x0_hat, eps_hat`."""),
        Mistake(
            "without the roots",
            lambda xt, v, alpha_bar: (alpha_bar * xt - (1 - alpha_bar) * v, (1 - alpha_bar) * xt + alpha_bar * v),
        ).says(r"""
            This looks like $\bar\alpha_t$ and $1-\bar\alpha_t$ without their roots.
            Put the definitions of $x_t$ and $v$ in: which factors, squared, add up to 1?
            `alpha_bar**0.5` and `(1 - alpha_bar) ** 0.5`."""),
        Mistake("v taken for the noise", as_if_noise).says(r"""
            This looks like the formula for a network that guesses noise.
            $v$ is a mix of noise and image. Two equations, that of $x_t$ and that of $v$, have two unknowns.
            Multiply that of $x_t$ by one root, that of $v$ by the other, and add or subtract: one unknown goes."""),
        halved(),
    ),
    consequence="No division: at alpha_bar = 0, where the image by the noise would be 0 / 0, an answer v still is an "
    "image, minus v itself.",
)


def min_snr_factors(alpha_bar: Tensor, gamma: float) -> tuple[Tensor, Tensor]:
    """Factors before the squared errors of eps and of v: Hang et al. 2023."""
    snr = alpha_bar / (1 - alpha_bar)
    return (gamma / snr).clamp(max=1), snr.clamp(max=gamma) / (snr + 1)


check_min_snr_factors = Exercise(
    solution=min_snr_factors,
    cases=[
        (torch.tensor([0.99995, 0.97, 0.84, 0.83, 0.3, 0.004], dtype=torch.float64), 5.0),
        (torch.tensor([[0.9, 0.6], [0.2, 0.0001]], dtype=torch.float64), 1.0),
        (torch.tensor([0.999, 0.5, 0.01], dtype=torch.float64), 20.0),
        (torch.tensor([0.6, 0.0], dtype=torch.float64), 5.0),
    ],
    mistakes=(
        Mistake("at least gamma", ("max=1", "min=1", "max=gamma", "min=gamma")).says("""
            This looks like a weight of at *least* gamma.
            Which noise levels would have too much say without min-SNR, those of little noise or of much?
            Those near the data, where SNR is huge: the weight is the smaller of SNR and gamma."""),
        Mistake(
            "the weight of the image", ("(gamma / snr).clamp(max=1)", "snr.clamp(max=gamma)", " / (snr + 1)", "")
        ).says(r"""
            This looks like the weight that an error of the *image* is to have.
            An error of $\epsilon_\theta$ weighs SNR already, by (15.9).
            Divide by what is there: SNR for noise, SNR + 1 for $v$."""),
        Mistake(
            "multiplied", ("(gamma / snr).clamp(max=1)", "snr.clamp(max=gamma) * snr", "/ (snr + 1)", "* (snr + 1)")
        ).says(r"""
            This looks like a product with the weight that (15.9) puts in.
            The loss brings SNR along by itself. What must go before it for `min(SNR, gamma)` to be left?
            Divide by it."""),
        Mistake("v weighed as noise", ("snr.clamp(max=gamma) / (snr + 1)", "(gamma / snr).clamp(max=1)")).says("""
            This looks like the factor of noise for both.
            What does an error of v weigh in (15.9)?
            Divide by SNR + 1."""),
        Mistake("noise weighed as v", ("(gamma / snr).clamp(max=1)", "snr.clamp(max=gamma) / (snr + 1)")).says("""
            This looks like the factor of v for both.
            What does an error of noise weigh in (15.9)?
            Divide by SNR."""),
        Mistake(
            "v first",
            (
                "(gamma / snr).clamp(max=1), snr.clamp(max=gamma) / (snr + 1)",
                "snr.clamp(max=gamma) / (snr + 1), (gamma / snr).clamp(max=1)",
            ),
        ).says("""
            This looks like the factor of v first and that of noise second.
            Both are right; look at their order.
            That of noise comes first."""),
        Mistake(
            "not capped", ("(gamma / snr).clamp(max=1)", "torch.ones_like(snr)", "snr.clamp(max=gamma)", "snr")
        ).says("""
            This looks like SNR without a cap.
            Then the loss of noise would stay as it is, with a factor of 1 everywhere. What is gamma for?
            The smaller of SNR and gamma is what an error of the image shall weigh."""),
        Mistake(
            "v weighed as noise, 0 over 0",
            ("(gamma / snr).clamp(max=1), snr", "snr.clamp(max=gamma) / snr, snr", "(snr + 1)", "snr"),
        ).says("""
            This looks like the factor of noise for both, which is NaN where alpha_bar is 0.
            What does an error of v weigh in (15.9)? And what is min(SNR, gamma) / SNR for a very small SNR?
            Divide the second by SNR + 1, and write the first as `(gamma / snr).clamp(max=1)`."""),
        Mistake(
            "v first, 0 over 0",
            (
                "(gamma / snr).clamp(max=1), snr.clamp(max=gamma) / (snr + 1)",
                "snr.clamp(max=gamma) / (snr + 1), snr.clamp(max=gamma) / snr",
            ),
        ).says("""
            This looks like the factor of v first and that of noise second, which is NaN where alpha_bar is 0.
            Look at their order. And what is min(SNR, gamma) / SNR for a very small SNR?
            That of noise comes first: `(gamma / snr).clamp(max=1)`."""),
        Mistake(
            "capped with its 1", ("snr.clamp(max=gamma) / (snr + 1)", "(snr + 1).clamp(max=gamma) / (snr + 1)")
        ).says("""
            This looks like min(SNR + 1, gamma) for v.
            The weight that is wanted is the same for every target. Which?
            min(SNR, gamma): `snr.clamp(max=gamma) / (snr + 1)`."""),
        Mistake("0 over 0", ("(gamma / snr).clamp(max=1)", "snr.clamp(max=gamma) / snr")).says("""
            This looks like NaN where alpha_bar is 0, and is right everywhere else.
            There SNR is 0, and so is min(SNR, gamma). What is their quotient for a very small SNR?
            Divide first and clamp then: `(gamma / snr).clamp(max=1)`, as gamma / 0 is infinite."""),
        Mistake(
            "0 for the limit", ("(gamma / snr).clamp(max=1)", "(snr.clamp(max=gamma) / snr).nan_to_num(0)")
        ).says("""
            This looks like a factor of 0 for noise where alpha_bar is 0, and is right everywhere else.
            What is the factor for a very small SNR?
            1: below gamma the loss of noise stays as it is. `(gamma / snr).clamp(max=1)` gives it."""),
        Mistake("alpha_bar for SNR", (" / (1 - alpha_bar)", "")).says(r"""
            This looks like $\bar\alpha$ in the place of SNR.
            It is at most 1, and no cap of 5 would ever be met.
            SNR is `alpha_bar / (1 - alpha_bar)`."""),
        Mistake("noise over signal", ("alpha_bar / (1 - alpha_bar)", "(1 - alpha_bar) / alpha_bar")).says("""
            This looks like the ratio upside down.
            SNR is large near the data.
            `alpha_bar / (1 - alpha_bar)`."""),
        Mistake("ratio of amplitudes", ("alpha_bar / (1 - alpha_bar)", "(alpha_bar / (1 - alpha_bar)) ** 0.5")).says("""
            This looks like the root of SNR.
            SNR is a ratio of variances, as a squared error is.
            `alpha_bar / (1 - alpha_bar)`."""),
    ),
    consequence="For noise the factor is 1 up to SNR = gamma and falls from there. Without it an error of the image "
    "would weigh ten thousand times more near the data than where SNR is 1: that is what SNR does.",
)


def guided_noise(eps_null: Tensor, eps_label: Tensor, w: float) -> Tensor:
    """Guidance with the paper's w, where 0 is the conditional model: Ho and Salimans 2022, Eq. 6."""
    return (1 + w) * eps_label - w * eps_null


check_guided_noise = Exercise(
    solution=guided_noise,
    cases=[
        (doubles(4, 1, 2, 3, seed=1), doubles(4, 1, 2, 3, seed=2), 3.0),
        (doubles(5, seed=3), doubles(5, seed=4), 0.0),
        (doubles(2, 3, seed=5), doubles(2, 3, seed=6), 0.5),
        (doubles(6, seed=7), doubles(6, seed=8), -1.0),
    ],
    mistakes=(
        Mistake(
            "the other convention", ("(1 + w) * eps_label - w * eps_null", "w * eps_label + (1 - w) * eps_null")
        ).says("""
            This looks like the scale of diffusers, where 1 is the conditional model.
            What must come out for the paper's w = 0?
            The scale is w + 1: put that in for w."""),
        Mistake(
            "labels exchanged", ("(1 + w) * eps_label - w * eps_null", "(1 + w) * eps_null - w * eps_label")
        ).says("""
            This looks like guidance *away* from the label.
            For w = 0 the answer must be what the network says with the label.
            `(1 + w)` stands before `eps_label`."""),
        Mistake("added", (" - w * eps_null", " + w * eps_null")).says("""
            This looks like both answers added: the factors make 1 + 2 w.
            For two equal answers the result must be that answer. Which factors add up to 1?
            `(1 + w)` and `-w`."""),
        Mistake("subtracted once", (" - w * eps_null", " - eps_null")).says("""
            This looks like the answer without a label subtracted once, whatever w is.
            For two equal answers the result must be that answer. Which factors add up to 1?
            `(1 + w)` and `-w`."""),
        Mistake("the difference alone", ("(1 + w) * eps_label", "w * eps_label")).says("""
            This looks like w times the difference, without what it is added to.
            The difference is a direction. From where?
            From `eps_label`: `eps_label + w * (eps_label - eps_null)`."""),
        Mistake("nothing but the label", (" - w * eps_null", "")).says("""
            This looks like the answer with the label, made longer.
            Guidance goes *away* from something. From what?
            Subtract `w * eps_null`."""),
        Mistake(
            "towards no label", ("(1 + w) * eps_label - w * eps_null", "eps_label + w * (eps_null - eps_label)")
        ).says("""
            This looks like the difference the other way round: from the label's answer back to the one without.
            Guidance goes *away* from the answer without a label.
            `eps_label + w * (eps_label - eps_null)`."""),
        Mistake(
            "converted the other way",
            ("(1 + w) * eps_label - w * eps_null", "eps_null + (w - 1) * (eps_label - eps_null)"),
        ).says("""
            This looks like the scale s = w - 1.
            It is the paper's w that is one less. Which s belongs to w = 0, the conditional model?
            s = w + 1."""),
        Mistake(
            "one too much", ("(1 + w) * eps_label - w * eps_null", "eps_label + (1 + w) * (eps_label - eps_null)")
        ).says("""
            This looks like a step of 1 + w beyond the answer with the label.
            For w = 0 the answer must be what the network says with the label.
            Either `eps_label + w * (...)`, or `eps_null + (1 + w) * (...)`."""),
        Mistake(
            "shrunk to the mean", ("(1 + w) * eps_label - w * eps_null", "(eps_label + w * eps_null) / (1 + w + 1e-9)")
        ).says("""
            This looks like a mean of the two answers, somewhere between.
            Guidance does not lie between them: it goes on beyond the label's answer.
            `(1 + w) * eps_label - w * eps_null`."""),
    ),
    consequence="w = 0 here is scale 1 there. Whoever copies a number from a paper into a library that counts the "
    "other way guides one too little, and nothing fails.",
)
