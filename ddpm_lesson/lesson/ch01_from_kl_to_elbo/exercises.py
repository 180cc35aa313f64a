"""Exercises of notebook 01."""

import math

import torch
from torch import Tensor

from ddpm_lesson.lesson.kit.exercise import Exercise, Mistake, numbers


def row(*values: float) -> Tensor:
    """The values in float64."""
    return torch.tensor(values, dtype=torch.float64)


def gaussian_kl(mean1: Tensor, std1: Tensor, mean2: Tensor, std2: Tensor) -> Tensor:
    """KL(N(mean1, std1^2) || N(mean2, std2^2)) in nats, value by value: equation (1.3)."""
    return torch.log(std2 / std1) + (std1**2 + (mean1 - mean2) ** 2) / (2 * std2**2) - 0.5


check_gaussian_kl = Exercise(
    solution=gaussian_kl,
    cases=(
        (row(0.0, 1.0, -2.0), row(1.0, 0.5, 3.0), row(0.0, -1.0, 1.0), row(1.0, 2.0, 0.7)),
        (torch.zeros(2, 3), torch.full((2, 3), 0.9), torch.ones(2, 3), torch.full((2, 3), 1.6)),
        (row(0.3), row(0.2), row(0.3), row(1.1)),
    ),
    mistakes=(
        Mistake("variance for standard deviation", lambda m, s, m2, s2: gaussian_kl(m, s**0.5, m2, s2**0.5)).says(r"""
            This looks like the formula for variances, fed with standard deviations.
            What do the arguments `std1` and `std2` hold, and what does (1.3) square?
            Square the standard deviations in the fraction, and leave $\log(s_2 / s_1)$ without a factor."""),
        Mistake("arguments swapped", lambda m1, s1, m2, s2: gaussian_kl(m2, s2, m1, s1)).says(r"""
            This looks like KL in the other direction, with the two Gaussians swapped.
            KL(1 || 2) averages over the first distribution. Whose standard deviation stands in the denominator?
            The denominator holds `std2`; the logarithm is $\log(s_2 / s_1)$."""),
        Mistake("logarithm upside down", ("std2 / std1", "std1 / std2")).says(r"""
            This looks like $\log(s_1 / s_2)$ where $\log(s_2 / s_1)$ belongs.
            Try a very wide second Gaussian: it gives every value little density, so the divergence must be large.
            The logarithm comes from $\log p - \log q = \dots - \log s_1 + \log s_2$."""),
        Mistake("twice too large", lambda *case: 2 * gaussian_kl(*case)).says("""
            This looks exactly twice too large: a factor 1/2 is missing in front of everything.
            Where does the exponent of a Gaussian have its 1/2?
            With variances inside one bracket, the whole bracket is halved."""),
        Mistake("half of the fraction forgotten", ("2 * std2**2", "std2**2")).says("""
            This looks like a fraction over $s_2^2$ where $2 s_2^2$ belongs.
            Two equal Gaussians must give 0. Does yours?
            For equal Gaussians the fraction must be 1/2, so that it cancels the -1/2."""),
        Mistake("minus one half forgotten", (" - 0.5", "")).says("""
            This looks 1/2 too large everywhere.
            Two equal Gaussians must give 0. Does yours?
            The average of $(x - m_1)^2 / 2 s_1^2$ over the first Gaussian is 1/2, with a minus in front."""),
        Mistake("difference not squared", ("(mean1 - mean2) ** 2", "(mean1 - mean2)")).says("""
            This looks like the difference of the means without its square.
            May the divergence depend on which mean is larger?
            Write `(mean1 - mean2) ** 2`."""),
        Mistake("variance of the first forgotten", ("std1**2 + ", "")).says(r"""
            This looks like the fraction without $s_1^2$.
            What is the average of $(x - m_2)^2$ over the first Gaussian? Not only the distance of the means.
            $\mathbb{E}[(x - m_2)^2] = s_1^2 + (m_1 - m_2)^2$."""),
        Mistake("bits", lambda *case: gaussian_kl(*case) / math.log(2)).says("""
            This looks right, but in bits.
            Nats come from the natural logarithm.
            Drop the division by `log(2)`, or the `log2`."""),
        Mistake("multiplied by the variance of the second", ("(2 * std2**2)", "2 * std2**2")).says("""
            This looks like `/ 2 * std2**2`: Python divides by 2 and then *multiplies* by `std2**2`.
            Python works through `/` and `*` from left to right. Where does the denominator end?
            Put the denominator in brackets: `/ (2 * std2**2)`."""),
        Mistake("only the squared difference divided", ("(std1**2", "std1**2", "** 2)", "** 2")).says("""
            This looks like a fraction that holds the squared difference alone, with $s_1^2$ beside it.
            Two equal Gaussians must give 0. Does yours, whatever their standard deviation?
            Put the numerator in brackets: `(std1**2 + (mean1 - mean2) ** 2) / (2 * std2**2)`."""),
        Mistake("logarithm of variances", ("std2 / std1", "std2**2 / std1**2")).says(r"""
            This looks like $\log(s_2^2 / s_1^2)$ where $\log(s_2 / s_1)$ belongs.
            A square inside the logarithm is a factor 2 in front. Does (1.3) have it?
            Write `torch.log(std2 / std1)`, or half of the logarithm of the variances."""),
        Mistake("first standard deviation in the denominator", ("2 * std2", "2 * std1")).says("""
            This looks like $2 s_1^2$ in the denominator.
            A difference of the means matters little to a wide second Gaussian. Which width must stand below?
            The denominator is `2 * std2**2`: it comes from the exponent of the second Gaussian."""),
        Mistake("half of the logarithm", ("torch.log", "0.5 * torch.log")).says(r"""
            This looks like $\log(s_2 / s_1)$ halved: right for variances, but these are standard deviations.
            A half in front of everything belongs to $\log(s_2^2 / s_1^2)$. Which ratio do you have?
            Square inside the logarithm, or take the half away from it."""),
        Mistake("denominator not squared", ("2 * std2**2", "2 * std2")).says("""
            This looks like $2 s_2$ in the denominator: right for a variance, but `std2` is a standard deviation.
            The numerator is squared. What must the denominator be, for the fraction to be a plain number?
            The denominator is `2 * std2**2`."""),
        Mistake("plus one half", ("- 0.5", "+ 0.5")).says("""
            This looks like + 1/2 where - 1/2 belongs: 1 too large everywhere.
            Two equal Gaussians must give 0. Does yours?
            For equal Gaussians the fraction is 1/2, and the last term has to cancel it."""),
        Mistake("base 2", ("torch.log(", "torch.log2(")).says("""
            This looks like a logarithm to base 2 beside a fraction in nats.
            In which unit is the rest of (1.3), and what does `torch.log` take?
            `torch.log(std2 / std1)`: bits come in section 8, and then for the whole."""),
        Mistake("logarithm forgotten", ("torch.log(std2 / std1) + ", "")).says("""
            This looks like the formula without its logarithm.
            A divergence is never negative. What does yours give for equal means and a very wide second Gaussian?
            Add `torch.log(std2 / std1)`."""),
        Mistake("sum over the values", lambda *case: gaussian_kl(*case).sum()).says("""
            This looks like one sum over all the values.
            Every value is a pair of Gaussians of its own. Which shape does the exercise ask for?
            Drop the `.sum()`: the result has the shape of the arguments."""),
    ),
    consequence="Look at the fraction: with both standard deviations fixed, all that is left to learn is a squared "
    "distance of means. That is why, in part 04, the loss of a diffusion model becomes a mean squared error.",
)


def elbo(log_prior: Tensor, log_likelihood: Tensor, log_q: Tensor) -> Tensor:
    """Estimate of the ELBO from draws of q: equation (1.8). All (B, n), the result (B,)."""
    return (log_prior + log_likelihood - log_q).mean(dim=1)


def elbo_case(batch: int, n: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Log-densities as a latent model gives them at draws of q."""
    z = numbers(batch, n, seed=seed, dtype=torch.float64)
    x = numbers(batch, 1, seed=seed + 1, dtype=torch.float64)
    return -0.5 * z**2 - 0.9, -2 * (x - z) ** 2 - 0.2, -1.5 * (z - 0.4 * x) ** 2 - 0.4


check_elbo = Exercise(
    solution=elbo,
    cases=(elbo_case(3, 5, 0), elbo_case(1, 8, 2), elbo_case(4, 6, 4)),
    mistakes=(
        Mistake("logarithm of the mean", lambda p, x, q: (p + x - q).exp().mean(1).log()).says("""
            This looks like the logarithm of the mean weight, where the mean of the logarithm belongs.
            On which side of Jensen's inequality does the ELBO stand?
            Take no `exp`: average the log-weights themselves. (Yours is a bound as well, the tighter one of
                importance-weighted autoencoders.)"""),
        Mistake("q left out", lambda p, x, q: (p + x).mean(1)).says("""
            This looks like the average of log p(x, z), without q.
            The weight inside the logarithm is a ratio. What stands below?
            Subtract `log_q`."""),
        Mistake("q added", lambda p, x, q: (p + x + q).mean(1)).says("""
            This looks like + log q where - log q belongs.
            The weight inside the logarithm is p(x, z) / q(z | x).
            The logarithm of a ratio is a difference: subtract `log_q`."""),
        Mistake("prior left out", lambda p, x, q: (x - q).mean(1)).says(r"""
            This looks like the average without log p(z).
            p(x, z) is a product of two factors.
            $\log p(x, z) = \log p(z) + \log p(x \mid z)$."""),
        Mistake("likelihood left out", lambda p, x, q: (p - q).mean(1)).says(r"""
            This looks like the average without log p(x | z): x never enters.
            p(x, z) is a product of two factors.
            $\log p(x, z) = \log p(z) + \log p(x \mid z)$."""),
        Mistake("negative", lambda p, x, q: (q - p - x).mean(1)).says("""
            This looks like the negative ELBO: the loss and not the bound.
            Which of the two lies below log p(x)?
            Turn the sign round."""),
        Mistake("sum over the draws", lambda p, x, q: (p + x - q).sum(1)).says("""
            This looks like a sum over the draws where their mean belongs.
            With twice as many draws, should the estimate double?
            Use `.mean(dim=1)`."""),
        Mistake("mean over the batch too", lambda p, x, q: (p + x - q).mean()).says("""
            This looks like one mean over everything.
            Every row belongs to another x, and each x has its own bound.
            Use `.mean(dim=1)`: the result has shape (B,)."""),
        Mistake("mean over the wrong dimension", lambda p, x, q: (p + x - q).mean(0)).says("""
            This looks like a mean over the batch where one over the draws belongs.
            The arguments are (B, n): which dimension holds the draws?
            Use `.mean(dim=1)`."""),
        Mistake("weighted by q again", lambda p, x, q: (q.exp() * (p + x - q)).mean(1)).says("""
            This looks like an average with the weight q.
            The draws come from q already. Where does q show up a second time?
            A plain mean over draws of q *is* the expectation under q."""),
        Mistake("expectation by hand", lambda p, x, q: (q.exp() * (p + x - q)).sum(1)).says("""
            This looks like a sum over the draws, each times q.
            That is how one takes an expectation on a grid. Where did these points come from?
            They are draws of q already: a plain `.mean(dim=1)` *is* the expectation under q."""),
        Mistake("sum inside the logarithm", lambda p, x, q: (p + x - q).logsumexp(1)).says("""
            This looks like `logsumexp`: the logarithm of the sum of the weights.
            On which side of Jensen's inequality does the ELBO stand? And should more draws give a larger value?
            Take no `exp` and no `log`: the arguments are logarithms already. Average them with `.mean(dim=1)`."""),
        Mistake("weights not logged", lambda p, x, q: (p + x - q).exp().mean(1)).says("""
            This looks like the mean of the weights themselves: an estimate of p(x), not of a bound on its logarithm.
            What does (1.8) average, a ratio of densities or its logarithm?
            Leave out the `exp`: average `log_prior + log_likelihood - log_q`."""),
        Mistake("no mean", lambda p, x, q: p + x - q).says("""
            This looks like the log-weight of every single draw, not yet averaged.
            The bound is an expectation. How does one estimate it from draws?
            Add `.mean(dim=1)`: the result has shape (B,)."""),
    ),
    consequence="Every term is something you can compute, for any decoder. A variational autoencoder is trained with "
    "exactly this estimate, often with a single draw (n = 1); a diffusion model uses it with a chain of latents.",
)


def bound_terms(
    log_q_end: Tensor, log_prior: Tensor, log_posterior: Tensor, log_p: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """One draw of the terms of (1.16). (B,), (B,), (B, T-1), (B, T); L_T (B,), L_steps (B, T-1), L_0 (B,)."""
    L_T = log_q_end - log_prior
    L_steps = log_posterior - log_p[:, 1:]
    L_0 = -log_p[:, 0]
    return L_T, L_steps, L_0


def chain_case(batch: int, T: int, seed: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Log-densities along a forward path, as ``negative_elbo`` takes them."""
    parts = numbers(batch, 2 * T + 1, seed=seed, dtype=torch.float64) - 1
    return parts[:, 0], parts[:, 1], parts[:, 2 : T + 1], parts[:, T + 1 :]


check_bound_terms = Exercise(
    solution=bound_terms,
    cases=(chain_case(4, 6, 10), chain_case(2, 3, 11), chain_case(5, 2, 12)),
    mistakes=(
        Mistake("one sum", lambda *case: sum(term.view(len(term), -1).sum(1) for term in bound_terms(*case))).says("""
            This looks like the whole bound, summed up.
            Right, but asked for are its terms. Which three kinds does (1.16) have?
            `return L_T, L_steps, L_0`, with `L_steps` of shape (B, T-1)."""),
        Mistake("steps summed", ("log_posterior - log_p[:, 1:]", "(log_posterior - log_p[:, 1:]).sum(dim=1)")).says("""
            This looks like the terms for t = 2..T summed up.
            Each of them belongs to another step, and part 04 will need them one by one.
            Leave the `.sum(dim=1)` away: `L_steps` has the shape of `log_posterior`."""),
        Mistake("end of the forward process forgotten", ("log_q_end - log_prior", "-log_prior")).says("""
            This looks like $L_T$ without log q(x_T | x_0).
            The ratios in (1.15) cancel, all but one factor.
            $L_T$ compares `log_q_end` with `log_prior`: take their difference."""),
        Mistake("prior left out", (" - log_prior", "")).says("""
            This looks like $L_T$ without log p(x_T).
            The model's chain starts somewhere. Which density in (1.11) says where?
            $L_T$ compares `log_q_end` with `log_prior`: take their difference."""),
        Mistake("L_T upside down", ("log_q_end - log_prior", "log_prior - log_q_end")).says("""
            This looks like $L_T$ with its sign turned round.
            Every KL term has q above and p below.
            Write `log_q_end - log_prior`."""),
        Mistake("L_0 with the wrong sign", ("-log_p[:, 0]", "log_p[:, 0]")).says(r"""
            This looks like + log p(x_0 | x_1) where a minus belongs.
            A model that gives the data more density should have a smaller loss.
            $L_0 = -\log p_\theta(x_0 \mid x_1)$."""),
        Mistake("off by one", ("[:, 1:]", "[:, :-1]")).says("""
            This looks off by one: the first step back stands in two terms, and the last one in none.
            `log_posterior[:, 0]` is about $x_1$ given $x_2$. Which column of `log_p` is about the same?
            Pair `log_posterior` with `log_p[:, 1:]`, and use `log_p[:, 0]` for $L_0$."""),
        Mistake("shifted pairs", ("[:, 1:]", "[:, :-1]", "[:, 0]", "[:, -1]")).says("""
            This looks like every term paired with its neighbour's: their sum is right, and no term is.
            `log_p[:, 0]` is about $x_0$ given $x_1$. Which step is `log_posterior[:, 0]` about?
            Pair `log_posterior` with `log_p[:, 1:]`, and use `log_p[:, 0]` for $L_0$."""),
        Mistake("L_0 from the other end", ("[:, 0]", "[:, -1]")).says("""
            This looks like $L_0$ with the step out of $x_T$.
            Which column of `log_p` is about $x_0$ given $x_1$?
            The columns run from $t = 1$ to $T$: `-log_p[:, 0]`."""),
        Mistake("steps upside down", ("log_posterior - log_p[:, 1:]", "log_p[:, 1:] - log_posterior")).says(r"""
            This looks like the terms for t = 2..T with their sign turned round.
            Every KL has q above and $p_\theta$ below.
            Write `log_posterior - log_p[:, 1:]`."""),
        Mistake("sign of everything", lambda *case: tuple(-term for term in bound_terms(*case))).says(r"""
            This looks like the terms of the ELBO: right, but with the sign of a thing to maximise.
            The loss is an upper bound of $-\log p_\theta(x_0)$.
            Turn the signs round."""),
        Mistake("from x_0 to x_T", ("L_T, L_steps, L_0", "L_0, L_steps, L_T")).says("""
            This looks like the right terms with $L_0$ in front.
            In which order does the exercise ask for them?
            `return L_T, L_steps, L_0`."""),
        Mistake("means over the batch", lambda *case: tuple(term.mean(0) for term in bound_terms(*case))).says("""
            This looks like means over the batch.
            Every row is the path of another x_0.
            Keep the first axis: (B,), (B, T-1) and (B,)."""),
    ),
    consequence="Sum them up, average over paths, and you have the bound. A neat side effect: the term of step t needs "
    "$x_t$ only, and $x_t$ can be drawn in one shot (part 03), so training looks at one random t at a time: this is "
    "why the pairs matter, although their sum alone could not tell.",
)


def bits_per_dim(nats: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Nats for a whole image in bits per dimension: equation (1.17). (B,); ``shape`` is that of the batch."""
    per_dim = nats / math.prod(shape[1:])
    return per_dim / math.log(2)


check_bits_per_dim = Exercise(
    solution=bits_per_dim,
    cases=(
        (row(2000.0, 2500.0), (2, 1, 28, 28)),
        (row(8000.0, 7000.0, 7500.0), (3, 3, 32, 32)),
        (row(100.0), (1, 3, 4, 8)),
    ),
    mistakes=(
        Mistake("still nats", (" / math.log(2)", "")).says(r"""
            This looks like nats per dimension.
            How many nats is one bit, the answer to one fair yes-or-no question?
            Divide by $\log 2 = 0.693$ as well."""),
        Mistake("multiplied by log 2", ("/ math.log(2)", "* math.log(2)")).says(r"""
            This looks multiplied by log 2.
            A bit is smaller than a nat, so there must be more of them.
            Divide by $\log 2$."""),
        Mistake("decimal digits", ("log(2)", "log(10)")).says("""
            This looks like decimal digits per dimension.
            Bits count in twos.
            Divide by `math.log(2)`, and not by `math.log(10)`."""),
        Mistake("batch counted as a dimension", ("[1:]", "")).says("""
            This looks divided by the size of the batch as well.
            `nats` holds one number an image. How many values has one image?
            Use `shape[1:]`."""),
        Mistake("channels forgotten", ("[1:]", "[2:]")).says("""
            This looks like bits per pixel: the channels are not counted.
            A dimension is one value of one pixel. How many has a colour pixel?
            Use `shape[1:]`: channels, height and width."""),
        Mistake("not divided by the dimensions", (" / math.prod(shape[1:])", "")).says("""
            This looks like bits for the whole image.
            A larger image must not look worse only because it has more values.
            Divide by the number of values of one image as well."""),
        Mistake("base 2 logarithm of the nats", lambda nats, shape: nats.log2() / math.prod(shape[1:])).says(r"""
            This looks like log2 of the nats.
            Nats are a logarithm already; only its base changes.
            $\log_2 y = \log y / \log 2$: divide by $\log 2$."""),
        Mistake("multiplied by the dimensions", ("/ math.prod", "* math.prod")).says("""
            This looks multiplied by the number of dimensions.
            Bits *per* dimension: should a larger image with the same nats get more or fewer?
            Divide by `math.prod(shape[1:])`."""),
        Mistake("base 2 logarithm of the nats per dimension", ("per_dim / math.log(2)", "per_dim.log2()")).says(r"""
            This looks like log2 of the nats per dimension.
            Nats are a logarithm already; only its base changes.
            $\log_2 y = \log y / \log 2$: divide by $\log 2$."""),
    ),
    consequence="Now you can read tables: 8 bits/dim is a raw byte. On CIFAR-10 the DDPM of 2020 needs at most 3.75 "
    "with L_simple, 3.70 when trained on the bound itself (Ho et al. 2020, table 1): less than half of the raw bytes.",
)
