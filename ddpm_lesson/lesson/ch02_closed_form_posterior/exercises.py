"""Exercises of notebook 02: a noise step, alpha_bar, a product of Gaussians, and the posterior.

A time t is code's: t = 0 .. T-1 is the paper's step t+1. ``beta`` is the whole schedule, (T,).
"""

import torch
from torch import Tensor

from ddpm_lesson.lesson.kit.exercise import Exercise, Mistake, halved

STEPS = torch.linspace(0.05, 0.4, 8, dtype=torch.float64)
UNEVEN = torch.tensor([0.3, 0.1, 0.25, 0.02, 0.5])


def q_step(x_prev: Tensor, beta: Tensor, eps: Tensor) -> Tensor:
    """x_t from x_{t-1}. Ho et al. 2020, Eq. 2."""
    return (1 - beta) ** 0.5 * x_prev + beta**0.5 * eps


def alpha_bars(beta: Tensor) -> Tensor:
    """alpha_bar of every step. Ho et al. 2020, Eq. 4."""
    return (1 - beta).cumprod(0)


def product_of_gaussians(m1: Tensor, v1: Tensor, m2: Tensor, v2: Tensor) -> tuple[Tensor, Tensor]:
    """Precisions add, and the mean is weighted by them."""
    v = 1 / (1 / v1 + 1 / v2)
    m = v * (m1 / v1 + m2 / v2)
    return m, v


def before(values: Tensor, t: int) -> Tensor:
    """The value one step earlier; 1 before the first step."""
    return values[t - 1] if t > 0 else torch.ones_like(values[0])


def posterior_mean(x0: Tensor, xt: Tensor, t: int, beta: Tensor) -> Tensor:
    """mu_tilde. Ho et al. 2020, Eq. 7."""
    alpha, alpha_bar = 1 - beta, alpha_bars(beta)
    prev = before(alpha_bar, t)
    return (prev**0.5 * beta[t] * x0 + alpha[t] ** 0.5 * (1 - prev) * xt) / (1 - alpha_bar[t])


def posterior_var(t: int, beta: Tensor) -> Tensor:
    """beta_tilde. Ho et al. 2020, Eq. 7."""
    alpha_bar = alpha_bars(beta)
    fraction = (1 - before(alpha_bar, t)) / (1 - alpha_bar[t])
    return beta[t] * fraction


def mean_by_precisions(x0: Tensor, xt: Tensor, t: int, beta: Tensor) -> Tensor:
    """mu_tilde by the product of two Gaussians, at t = 0 too, where the prior has variance 0."""
    prev = before(alpha_bars(beta), t)
    return product_of_gaussians(prev**0.5 * x0, 1 - prev, xt / (1 - beta[t]) ** 0.5, beta[t] / (1 - beta[t]))[0]


NOISE = torch.tensor([[0.4, -1.3, 2.0], [-0.2, 0.9, 0.1]], dtype=torch.float64)
IMAGE = torch.tensor([[1.0, -0.5, 0.25], [0.0, -1.0, 0.8]], dtype=torch.float64)

check_q_step = Exercise(
    solution=q_step,
    cases=[
        (IMAGE, torch.tensor(0.1, dtype=torch.float64), NOISE),
        (IMAGE[0], torch.tensor(0.5, dtype=torch.float64), NOISE[0]),
        (IMAGE.view(2, 1, 1, 3), torch.tensor(0.02, dtype=torch.float64), NOISE.view(2, 1, 1, 3)),
    ],
    mistakes=[
        Mistake("beta for sqrt(beta)", ("beta**0.5", "beta")).says("""
            This looks like the noise was multiplied by beta itself.
            beta_t is the *variance* of the noise. What multiplies a standard normal draw?
            By (2.1) a draw with variance beta is `beta ** 0.5 * eps`."""),
        Mistake("1 - beta without its root", ("(1 - beta) ** 0.5", "(1 - beta)")).says("""
            This looks like x_prev was multiplied by 1 - beta, without the square root.
            Work out the variance of your x_t when x_prev has variance 1. Is it still 1?
            A factor c multiplies the variance by c squared, and we want c squared = 1 - beta."""),
        Mistake("no roots at all", ("(1 - beta) ** 0.5", "(1 - beta)", "beta**0.5", "beta")).says("""
            This looks like a plain weighted average, (1 - beta) x_prev + beta eps.
            The weights of an average add up to 1. Which quantities should add up to 1 here?
            The *variances* 1 - beta and beta add up to 1; the factors are their square roots."""),
        Mistake("x_prev is not shrunk", ("(1 - beta) ** 0.5 * ", "")).says("""
            This looks like noise added to x_prev as it is.
            Then the variance grows by beta at every step. What should happen to x_prev first?
            Shrink it: multiply x_prev by `(1 - beta) ** 0.5` before you add the noise."""),
        halved(),
        Mistake("factors swapped", lambda x_prev, beta, eps: beta**0.5 * x_prev + (1 - beta) ** 0.5 * eps).says("""
            This looks like the two factors were swapped.
            For a small beta one step should leave x_prev almost as it is. Does yours?
            sqrt(1 - beta), close to 1, belongs to x_prev; sqrt(beta), close to 0, to the noise."""),
        Mistake("1 - sqrt(beta)", ("(1 - beta) ** 0.5", "(1 - beta**0.5)")).says("""
            This looks like x_prev was multiplied by 1 - sqrt(beta).
            First subtract, then take the root: which quantity is a variance?
            The factor is `(1 - beta) ** 0.5`."""),
        Mistake("noise of its own", ("* eps", "* torch.randn_like(x_prev)")).says("""
            This looks right, but with noise that you drew yourself.
            The noise comes as an argument, so that one can know which noise was added.
            Use `eps` in place of `torch.randn_like`."""),
        Mistake("x_prev is not shrunk and beta for sqrt(beta)", lambda x_prev, beta, eps: x_prev + beta * eps).says("""
            This looks like x_prev + beta eps: x_prev as it is, and the noise multiplied by beta itself.
            Both factors are still missing something. Which two variances should add up to 1?
            Multiply x_prev by `(1 - beta) ** 0.5` and eps by `beta ** 0.5`."""),
        Mistake("noise is shrunk too", ("x_prev + beta**0.5 * eps", "(x_prev + beta**0.5 * eps)")).says("""
            This looks like the noise was added first and shrunk along with x_prev.
            Then the new noise has the variance beta (1 - beta). Which one should it have?
            Shrink x_prev alone, and add `beta ** 0.5 * eps` afterwards."""),
        Mistake("eps is not scaled", ("beta**0.5 * ", "")).says("""
            This looks like noise of variance 1 at every step.
            How much noise does a step with a tiny beta add? And yours?
            The noise has variance beta: add `beta ** 0.5 * eps`."""),
    ],
    consequence="Whatever the data's variance is, such steps pull it to 1, and that of unit-variance data stays 1.",
)

check_alpha_bars = Exercise(
    solution=alpha_bars,
    cases=[(STEPS,), (UNEVEN,), (torch.tensor([0.2]),)],
    mistakes=[
        Mistake("sum for product", lambda beta: 1 - beta.cumsum(0)).says("""
            This looks like the betas were added up and taken from 1.
            Each step multiplies what is left of the signal. What happens to factors in a row?
            Multiply the alphas: (1 - beta_1)(1 - beta_2) is not 1 - beta_1 - beta_2."""),
        Mistake("sum of alphas", lambda beta: (1 - beta).cumsum(0)).says("""
            This looks like a running sum of the alphas.
            No signal is left at the end, so alpha_bar must go to 0. Does a sum?
            Use `cumprod`, the running product."""),
        Mistake("product of betas", lambda beta: beta.cumprod(0)).says("""
            This looks like the product of the betas.
            beta is what is added; what is *kept* of the signal's variance at each step?
            Each step keeps alpha = 1 - beta; multiply those."""),
        Mistake("1 - product of betas", lambda beta: 1 - beta.cumprod(0)).says("""
            This looks like 1 minus the product of the betas.
            Subtract first, multiply then.
            alpha = 1 - beta at every step, and alpha_bar is the running product of alpha."""),
        Mistake("alpha for alpha_bar", lambda beta: 1 - beta).says("""
            This looks like alpha, the factor of one single step.
            alpha_bar_t is about all steps up to and including t.
            Take the running product of what you have."""),
        Mistake("one step too early", lambda beta: torch.cat((beta.new_ones(1), (1 - beta).cumprod(0)[:-1]))).says("""
            This looks like alpha_bar_prev: everything is one step late, and it starts with 1.
            After the first step there is already noise: alpha_bar[0] = 1 - beta[0].
            The product runs up to *and including* the step itself."""),
        Mistake("root of alpha_bar", lambda beta: (1 - beta).cumprod(0) ** 0.5).says("""
            This looks like the square root of alpha_bar.
            alpha_bar is the share of the *variance* that is left; its root multiplies x_0.
            Leave the root out here, it comes in when x_0 is multiplied."""),
        Mistake("whole product everywhere", lambda beta: (1 - beta).prod().expand(len(beta))).says("""
            This looks like one product over all steps, the same for every t.
            alpha_bar_t knows only the steps up to t.
            Use the running product: `cumprod` in place of `prod`."""),
        Mistake("1 - alpha_bar", lambda beta: 1 - (1 - beta).cumprod(0)).says("""
            This looks like 1 - alpha_bar, the variance of the noise.
            alpha_bar is what is left of the signal. Does it grow over time, or shrink?
            Leave out the last `1 -`."""),
    ],
    consequence="For the paper's schedule alpha_bar ends at 0.00004: of the image's variance, next to nothing is left.",
)

MEANS = torch.tensor([0.0, 1.0, -2.0], dtype=torch.float64)
VARS = torch.tensor([0.25, 2.0, 0.5], dtype=torch.float64)

check_product_of_gaussians = Exercise(
    solution=product_of_gaussians,
    cases=[
        (torch.tensor(1.0), torch.tensor(0.25), torch.tensor(3.0), torch.tensor(4.0)),
        (MEANS, VARS, torch.tensor(1.5, dtype=torch.float64), torch.tensor(1.3, dtype=torch.float64)),
    ],
    mistakes=[
        Mistake("means averaged", ("v * (m1 / v1 + m2 / v2)", "(m1 + m2) / 2 + 0 * v")).says("""
            This looks like the plain average of the two means.
            If one of the two is very sure and the other is not, whom do you believe?
            Weight each mean by its precision 1 / v, and divide by the sum of the precisions."""),
        Mistake("variances added", ("m, v", "m, v1 + v2")).says("""
            This looks like the sum of the variances.
            That is right for a *sum of draws*. Two pieces of evidence should make you more sure, not less.
            Add the precisions 1 / v1 and 1 / v2, then turn the sum over."""),
        Mistake("precision not turned over", ("m, v", "m, 1 / v")).says("""
            This looks like the precision where the variance was asked for.
            The second value should be a variance.
            v = 1 / (1 / v1 + 1 / v2)."""),
        Mistake("standard deviation for variance", ("m, v", "m, v**0.5")).says("""
            This looks like the standard deviation where the variance was asked for.
            Everything here is in variances; no root is needed.
            Return v itself, not its square root."""),
        Mistake("weights swapped", ("v * (m1 / v1 + m2 / v2)", "(v1 * m1 + v2 * m2) / (v1 + v2)")).says("""
            This looks like each mean was weighted by its own variance.
            Then the vague one counts more. Should it?
            m = v (m1 / v1 + m2 / v2): divide by the variance in place of multiplying."""),
        Mistake("weights without v in front", ("v * (m1", "(m1")).says("""
            This looks like m1 / v1 + m2 / v2 without the factor v.
            Put in m1 = m2 = 1: the mean of the product should be 1 as well.
            Multiply by v, so that the weights v / v1 and v / v2 add up to 1."""),
        Mistake(
            "mean weighted by standard deviations",
            ("v * (m1 / v1 + m2 / v2)", "(m1 / v1**0.5 + m2 / v2**0.5) / (v1**-0.5 + v2**-0.5)"),
        ).says("""
            This looks like weights 1 / standard deviation.
            In the exponents the squares are divided by the *variances*.
            Leave the roots out: the weights are 1 / v1 and 1 / v2."""),
        Mistake("twice the variance", ("m, v", "m, 2 * v")).says("""
            This looks like the harmonic mean of the variances, twice what is right.
            Two equally sure pieces of evidence, v1 = v2: are you only as sure as with one?
            v = v1 v2 / (v1 + v2), without the 2."""),
        Mistake("a sum of draws", lambda m1, v1, m2, v2: (m1 + m2, v1 + v2)).says("""
            This looks like the mean and the variance of the sum of two independent numbers.
            That is the distribution of a *sum*; here two densities of the same x are multiplied.
            Use (2.9): add the precisions 1 / v1 and 1 / v2, and weight the means by them."""),
        Mistake("pair turned around", ("m, v", "v, m")).says("""
            This looks like the right numbers in the wrong order.
            Which of the two was asked for first?
            Return `m, v`: the mean first, then the variance."""),
        Mistake("everything averaged", lambda m1, v1, m2, v2: ((m1 + m2) / 2 + 0 * v1, (v1 + v2) / 2)).says("""
            This looks like plain averages of the means and of the variances.
            Two pieces of evidence make you surer than either. Is your variance less than both?
            Average by precision: v = 1 / (1 / v1 + 1 / v2) and m = v (m1 / v1 + m2 / v2)."""),
        Mistake("variances averaged", ("m, v", "m, (v1 + v2) / 2")).says("""
            This looks like the right mean with the average of the variances.
            The result must be surer than the surer of the two. Is an average less than both?
            It is the precisions that add: v = 1 / (1 / v1 + 1 / v2)."""),
    ],
    consequence="The result is surer than either of the two, and nearer to the surer one: all of Bayes for Gaussians.",
)

CASES = [(IMAGE, IMAGE + NOISE, t, STEPS) for t in (0, 1, 4, 7)] + [(IMAGE[0], NOISE[0], t, UNEVEN) for t in (0, 2, 4)]

check_posterior_mean = Exercise(
    solution=posterior_mean,
    cases=CASES,
    mistakes=[
        Mistake("alpha for alpha_bar", ("prev**0.5", "before(alpha, t) ** 0.5")).says("""
            This looks like sqrt(alpha_{t-1}) in the weight of x0, where sqrt(alpha_bar_{t-1}) belongs.
            Where does the weight of x0 come from? From the prior q(x_{t-1} | x_0), which is many steps long.
            Its mean is sqrt(alpha_bar_{t-1}) x0: use the running product, `alpha_bar[t - 1]`."""),
        Mistake("t for t-1", ("before(alpha_bar, t)", "alpha_bar[t]")).says("""
            This looks like alpha_bar_t where alpha_bar_{t-1} belongs.
            The prior is about x_{t-1}, one step before x_t.
            Use `alpha_bar[t - 1]`, and 1 for t = 0."""),
        Mistake("wraps around at t = 0", ("before(alpha_bar, t)", "alpha_bar[t - 1]")).says("""
            This looks right everywhere but at t = 0, where `alpha_bar[t - 1]` is the *last* value.
            Python's index -1 does not complain. What is alpha_bar before the first step?
            No noise yet: alpha_bar_prev = 1 at t = 0."""),
        Mistake("square roots missing", ("prev**0.5", "prev", "alpha[t] ** 0.5", "alpha[t]")).says("""
            This looks like alpha and alpha_bar without their square roots in the weights.
            Means carry roots, variances do not.
            The weights have sqrt(alpha_bar_{t-1}) and sqrt(alpha_t) on top; 1 - alpha_bar stays without a root."""),
        Mistake("x0 and xt swapped", lambda x0, xt, t, beta: posterior_mean(xt, x0, t, beta)).says("""
            This looks like the weights of x0 and xt were swapped.
            At t = 0 the answer must be x0 itself. Which weight is 1 there?
            x0 goes with beta_t sqrt(alpha_bar_{t-1}); x_t goes with sqrt(alpha_t) (1 - alpha_bar_{t-1})."""),
        Mistake("divided by 1 - alpha_bar_{t-1}", ("1 - alpha_bar[t]", "1 - prev")).says("""
            This looks like a division by 1 - alpha_bar_{t-1}, which is 0 at t = 0.
            The sum of the precisions has 1 - alpha_bar_t on top; look where it goes when you turn it over.
            Both weights are divided by 1 - alpha_bar_t."""),
        Mistake("beta_tilde for beta", ("beta[t]", "posterior_var(t, beta)")).says("""
            This looks like beta_tilde in the weight of x0, where beta itself belongs.
            At t = 0 beta_tilde is 0, and x0 would not count at all.
            beta_tilde is the variance of the result; the weight of x0 has beta_t."""),
        Mistake("root of beta", ("beta[t]", "beta[t] ** 0.5")).says("""
            This looks like sqrt(beta_t) in the weight of x0.
            beta comes from a precision, alpha / beta: variances have no roots.
            Use `beta[t]` as it is."""),
        Mistake("alpha_bar_prev = 0 at t = 0", ("before(alpha_bar, t)", "(alpha_bar[t - 1] if t > 0 else 0)")).says("""
            This looks right everywhere but at t = 0, where alpha_bar_{t-1} was taken for 0.
            alpha_bar = 0 means that nothing of the image is left. How much is left before the first step?
            All of it: alpha_bar_prev = 1 at t = 0."""),
        Mistake("first step for the step before it", ("before(alpha_bar, t)", "alpha_bar[max(t - 1, 0)]")).says("""
            This looks right everywhere but at t = 0, where `alpha_bar[0]` stands for the step before it.
            `alpha_bar[0]` already has one step of noise in it. And before that step?
            No noise yet: alpha_bar_prev = 1 at t = 0, not `alpha_bar[0]`."""),
        Mistake("alpha for alpha_bar in both weights", ("before(alpha_bar, t)", "before(alpha, t)")).says("""
            This looks like alpha_{t-1} in both weights, where alpha_bar_{t-1} belongs.
            Both weights come from the prior q(x_{t-1} | x_0), and that covers *all* the steps before this one.
            Use the running product, `alpha_bar[t - 1]`, under the root and in 1 - alpha_bar_{t-1}."""),
        Mistake("root missing in the weight of x0", ("prev**0.5", "prev")).says("""
            This looks like alpha_bar_{t-1} without its root in the weight of x0.
            What multiplies x0 in the mean of q(x_{t-1} | x_0)?
            The weight of x0 has `alpha_bar_prev ** 0.5` on top."""),
        Mistake("root missing in the weight of xt", ("alpha[t] ** 0.5", "alpha[t]")).says("""
            This looks like alpha_t without its root in the weight of x_t.
            The likelihood has the mean x_t / sqrt(alpha_t) and the precision alpha_t / beta_t. Multiply them.
            alpha / sqrt(alpha) = sqrt(alpha): the weight of x_t has `alpha[t] ** 0.5` on top."""),
        Mistake("not divided by 1 - alpha_bar", (" / (1 - alpha_bar[t])", "")).says("""
            This looks like both weights without the division by 1 - alpha_bar_t.
            At t = 0 the weight of x0 must be 1. What is yours?
            Divide both weights by `1 - alpha_bar[t]`."""),
        Mistake("root of 1 - alpha_bar", ("(1 - alpha_bar[t])", "(1 - alpha_bar[t]) ** 0.5")).says("""
            This looks like a division by sqrt(1 - alpha_bar_t).
            1 - alpha_bar_t comes from the sum of the precisions. Do those have roots?
            Divide by `1 - alpha_bar[t]` as it is."""),
        halved(),
        Mistake("alpha_bar for alpha in the weight of xt", ("alpha[t] ** 0.5", "alpha_bar[t] ** 0.5")).says(r"""
            This looks like $\sqrt{\bar\alpha_t}$ in the weight of $x_t$.
            One step leads from $x_{t-1}$ to $x_t$. By which factor does one step shrink the image?
            No bar in this weight: $\sqrt{\alpha_t}$, `alpha[t] ** 0.5`."""),
        Mistake("alpha for alpha_bar below", ("(1 - alpha_bar[t])", "(1 - alpha[t])")).says(r"""
            This looks like $1-\alpha_t$ below, which is $\beta_t$.
            What stands below is the noise of all steps up to t, not of one.
            With a bar: $1-\bar\alpha_t$."""),
        Mistake("the paper's t", lambda x0, xt, t, beta: posterior_mean(x0, xt, t - 1, beta)).says("""
            This looks like the formula of one step earlier.
            The paper counts its times from 1, code counts from 0. Which entry of `beta` belongs to code's `t`?
            `beta[t]` is the step itself, and `alpha_bar[t - 1]` is what is left before it."""),
        Mistake(
            "likelihood variance beta",
            (
                "alpha[t] ** 0.5 * (1 - prev) * xt",
                "(1 - prev) * xt / alpha[t] ** 0.5",
                "1 - alpha_bar[t]",
                "1 - prev + beta[t]",
            ),
        ).says("""
            This looks like the precision 1 / beta_t for the likelihood, on its right mean x_t / sqrt(alpha_t).
            That is the variance of x_t given x_{t-1}. Seen as a function of x_{t-1}, the likelihood is wider.
            By (2.8) its variance is beta_t / alpha_t, so the precision is alpha_t / beta_t."""),
        Mistake("precisions at t = 0", mean_by_precisions).says("""
            This looks right everywhere but at t = 0, where it is NaN: (2.9) divides by the prior's variance, 0.
            In (2.11) that variance has cancelled: nothing is divided by 1 - alpha_bar_{t-1}.
            Write the two weights of (2.11), or return x0 if t is 0."""),
    ],
    consequence="The mean is a straight line in x0 and x_t: whoever can guess x0 can take a step back.",
)

check_posterior_var = Exercise(
    solution=posterior_var,
    cases=[(t, beta) for _, _, t, beta in CASES],
    mistakes=[
        Mistake("beta for beta_tilde", lambda t, beta: beta[t]).says("""
            This looks like beta_t, the variance of the step *forward*.
            Knowing x0 makes us surer about x_{t-1}. So it must be less.
            Multiply by (1 - alpha_bar_{t-1}) / (1 - alpha_bar_t)."""),
        Mistake("standard deviation for variance", lambda t, beta: posterior_var(t, beta) ** 0.5).says("""
            This looks like the standard deviation.
            We asked for the variance.
            Leave the square root out."""),
        Mistake("fraction upside down", ("* fraction", "/ fraction")).says("""
            This looks like the fraction upside down.
            Is your result smaller than beta_t? It must be.
            1 - alpha_bar_{t-1}, the smaller one, stands on top."""),
        Mistake("alpha_bar for 1 - alpha_bar", ("1 - before", "before", "1 - alpha_bar[t]", "alpha_bar[t]")).says("""
            This looks like alpha_bar_{t-1} / alpha_bar_t: the shares of signal, where those of noise belong.
            At t = 0 the variance must be 0. Which quantity is 0 before the first step?
            Use 1 - alpha_bar on top and below."""),
        Mistake("alpha for alpha_bar", lambda t, beta: beta[t] * (1 - before(1 - beta, t)) / beta[t]).says("""
            This looks like alpha in the fraction, where alpha_bar belongs.
            The prior q(x_{t-1} | x_0) covers *all* the steps before this one.
            Use the running products `alpha_bar[t - 1]` and `alpha_bar[t]`."""),
        Mistake("wraps around at t = 0", ("before(alpha_bar, t)", "alpha_bar[t - 1]")).says("""
            This looks right everywhere but at t = 0, where `alpha_bar[t - 1]` is the *last* value.
            Python's index -1 does not complain. What is alpha_bar before the first step?
            alpha_bar_prev = 1 at t = 0, and the variance is 0."""),
        Mistake("precision for variance", lambda t, beta: 1 / posterior_var(t, beta)).says("""
            This looks like the precision, 1 / beta_tilde.
            Your last step is to turn it over.
            The variance is 1 / precision."""),
        Mistake("alpha_bar_prev = 0 at t = 0", ("before(alpha_bar, t)", "(alpha_bar[t - 1] if t > 0 else 0)")).says("""
            This looks right everywhere but at t = 0, where alpha_bar_{t-1} was taken for 0.
            alpha_bar = 0 means that nothing of the image is left. How much is left before the first step?
            All of it: alpha_bar_prev = 1 at t = 0, and the variance is 0."""),
        Mistake("first step for the step before it", ("before(alpha_bar, t)", "alpha_bar[max(t - 1, 0)]")).says("""
            This looks right everywhere but at t = 0, where it gives `beta[0]`, as `alpha_bar[0]` in the
                place of the step before would.
            Before that step there is no noise yet. How sure is x_{t-1} once x_0 is known?
            It *is* x_0: alpha_bar_prev = 1 at t = 0, and the variance is 0."""),
        Mistake("alpha for alpha_bar on top", ("before(alpha_bar, t)", "before(1 - beta, t)")).says("""
            This looks like 1 - alpha_{t-1} on top, where 1 - alpha_bar_{t-1} belongs.
            On top is the variance of q(x_{t-1} | x_0): the noise of *all* the steps before this one, not of one.
            Use the running product, `1 - alpha_bar[t - 1]`."""),
        Mistake("factor beta missing", ("beta[t] * ", "")).says("""
            This looks like the fraction alone, without beta_t.
            Late in the process x0 tells next to nothing, and a step back is as wide as one forward. Is yours?
            Multiply the fraction by `beta[t]`."""),
        Mistake("likelihood variance beta", ("1 - alpha_bar[t]", "1 - before(alpha_bar, t) + beta[t]")).says("""
            This looks like the precision 1 / beta_t for the likelihood.
            That is the variance of x_t given x_{t-1}. Seen as a function of x_{t-1}, the likelihood is wider.
            By (2.8) its variance is beta_t / alpha_t, so the precision is alpha_t / beta_t."""),
    ],
    consequence="It depends on the schedule alone, neither on x0 nor on x_t.",
)
