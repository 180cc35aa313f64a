"""The loop: Algorithm 1 on batches that are drawn already."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from ddpm_lesson.lesson.kit.exercise import Exercise, Later, Mistake, halved
from ddpm_lesson.lesson.kit.toy import Toy


def toy_case(seed: int, n_batches: int, max_norm: float) -> tuple[Any, ...]:
    """A model, its optimiser, batches of x0, t and eps, alpha_bar and the largest norm."""
    model, generator, batches = Toy().double(), torch.Generator().manual_seed(seed), []
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.5)
    for _ in range(n_batches):
        x0, eps = torch.randn(2, 6, 6, generator=generator, dtype=torch.float64)
        batches.append((x0, torch.randint(8, (6,), generator=generator), eps))
    alpha_bar = (1 - torch.linspace(0.05, 0.4, 8, dtype=torch.float64)).cumprod(0)
    return model, optimizer, batches, alpha_bar, max_norm


def train_on(eps_model: nn.Module, optimizer: Optimizer, batches: list, alpha_bar: Tensor, max_norm: float) -> list:
    """Algorithm 1 on batches of x0, t and eps -> their losses."""
    losses = []
    for x0, t, eps in batches:
        a = alpha_bar[t][:, None]
        xt = a.sqrt() * x0 + (1 - a).sqrt() * eps
        loss = ((eps_model(xt, t) - eps) ** 2).mean()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(eps_model.parameters(), max_norm)
        optimizer.step()
        losses.append(float(loss))
    return losses


check_train_on = Exercise(
    solution=train_on,
    cases=Later(lambda: [toy_case(0, 6, 0.5), toy_case(1, 4, 100.0)]),  # the first optimiser takes seconds
    mistakes=(
        Mistake("gradients never zeroed", ("optimizer.zero_grad()", "")).says("""
            This looks like gradients that pile up from step to step.
            `backward` *adds* to what is in `.grad`. Who empties it?
            Call `optimizer.zero_grad()` once a step, before `backward()`."""),
        Mistake("zeroed too late", ("optimizer.step()", "optimizer.zero_grad(); optimizer.step()")).says("""
            This looks like a loop that never learns: `step()` is missing or stands after the loop,
                or the gradients are emptied before it.
            In which order do `zero_grad`, `backward` and `step` stand?
            `zero_grad`, `backward`, clip, `step`."""),
        Mistake("step before backward", ("optimizer.step()", "", ".zero", ".step(); optimizer.zero")).says("""
            This looks like `step()` before `backward()`: every gradient is used one batch too late.
            `step` uses the gradient that `backward` made.
            `zero_grad`, `backward`, clip, `step`."""),
        Mistake("clipped after the step", ("optimizer.step()", "", "nn.utils", "optimizer.step(); nn.utils")).says("""
            This looks like no clipping, or clipping after the step, when it is too late.
            What does the optimiser see when it takes its step?
            Clip between `backward()` and `step()`."""),
        Mistake("clipped value by value", ("clip_grad_norm_", "clip_grad_value_")).says("""
            This looks like every value of the gradient clipped on its own.
            That bends the gradient. Clipping its *norm* keeps its direction.
            `torch.nn.utils.clip_grad_norm_(eps_model.parameters(), max_norm)`."""),
        Mistake("always scaled to the largest norm", ("loss.backward", "(1e9 * loss).backward")).says("""
            This looks like every gradient scaled to `max_norm`, small ones too.
            Clipping only shortens what is too long.
            The factor is at most 1: `min(1, max_norm / norm)`."""),
        Mistake("sum instead of mean", (".mean()", ".sum()")).says("""
            This looks like a sum over the batch, where a mean belongs.
            With a sum, a batch twice as large means a gradient twice as large.
            `((eps_theta - eps) ** 2).mean()`."""),
        Mistake("network guesses x0", ("t) - eps)", "t) - x0)")).says("""
            This looks like a network that is asked for the image.
            What does the sampler take the answer for?
            Compare with `eps`."""),
        Mistake("absolute error", ("((eps_model(xt, t) - eps) ** 2)", "(eps_model(xt, t) - eps).abs()")).says("""
            This looks like the absolute error.
            Its best answer is a median. Which error has the mean as its best answer?
            `((eps_theta - eps) ** 2).mean()`."""),
        Mistake("no roots", ("a.sqrt()", "a", "(1 - a).sqrt()", "(1 - a)")).says(r"""
            This looks like image and noise mixed without the roots.
            $\bar\alpha_t$ and $1-\bar\alpha_t$ are shares of *variance*.
            `alpha_bar[t].sqrt()` and `(1 - alpha_bar[t]).sqrt()`."""),
        Mistake("noise without its root", ("(1 - a).sqrt()", "(1 - a)")).says("""
            This looks like the noise multiplied by its variance.
            The image has its root. And the noise?
            `(1 - alpha_bar[t]).sqrt() * eps`."""),
        Mistake("clean image shown", ("a.sqrt() * x0 + (1 - a).sqrt() * eps", "x0")).says("""
            This looks like a network that sees the clean image.
            How could it guess noise that is not there?
            It sees `xt`, the mix of `x0` and `eps`."""),
        Mistake("one t for the whole batch", ("a = alpha", "t = t[:1].expand(len(t)); a = alpha")).says("""
            This looks like the first time of the batch, used for all images.
            `t` holds one time an image.
            `alpha_bar[t]` has shape (B,); give it a second axis with `[:, None]` and it broadcasts."""),
        Mistake("t shifted by one", ("alpha_bar[t]", "alpha_bar[t - 1]")).says("""
            This looks like `alpha_bar[t - 1]`, the paper's count.
            In code, index t is the step itself.
            `alpha_bar[t]`."""),
        Mistake("no second axis", ("[:, None]", "")).says("""
            This looks like `alpha_bar[t]` without a second axis.
            (B,) meets (B, D) from the right: which value got which time? (Here B = D; else it would be an error.)
            `alpha_bar[t][:, None]` has shape (B, 1), and broadcasts with (B, D)."""),
        Mistake("axes for images", ("[:, None]", "[:, None, None, None]")).says("""
            This looks like `.view(-1, 1, 1, 1)`, which fits images, on points of shape (B, D).
            Print the shape of `xt`. Every point was mixed with the times of all.
            `alpha_bar[t][:, None]` has shape (B, 1), and broadcasts with (B, D)."""),
        Mistake("roots swapped", ("* x0 +", "* eps +", "a).sqrt() * eps", "a).sqrt() * x0")).says(r"""
            This looks like the roots of image and noise swapped.
            At $t = 0$, $\bar\alpha_t$ is nearly 1. Which of the two should be seen there?
            `alpha_bar[t].sqrt() * x0 + (1 - alpha_bar[t]).sqrt() * eps`."""),
        Mistake("sum over the values", (".mean()", ".sum(-1).mean()")).says(r"""
            This looks like a sum over the values of a point, and a mean over the batch.
            It is $\lVert\cdot\rVert^2$ to the letter. The lesson also takes the mean over the values, so that
                guessing nothing costs 1.
            `((eps_theta - eps) ** 2).mean()`."""),
        Mistake("eps drawn anew", ("a = alpha", "eps = torch.randn_like(eps); a = alpha")).says("""
            This looks like noise of your own in place of the batch's.
            What does each batch hold besides `x0` and `t`?
            `for x0, t, eps in batches:` has drawn it already."""),
        Mistake("clipped to 1", ("max_norm)", "1.0)")).says("""
            This looks like clipping to 1, whatever `max_norm` is.
            What does the function get it for?
            `clip_grad_norm_(eps_model.parameters(), max_norm)`."""),
        Mistake("last loss only", ("return losses", "return losses[-1]")).says("""
            This looks like the loss of the last batch alone.
            The exercise asks for all of them.
            `losses.append(float(loss))` in the loop, and `return losses` after it."""),
        halved(),
    ),
    consequence="These lines are Algorithm 1 of the paper, and they are all that the network ever learns from.",
)
