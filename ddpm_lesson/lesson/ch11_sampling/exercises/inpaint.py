"""A step of inpainting."""

from typing import Any

import torch
from torch import Tensor

from ddpm_lesson.lesson.ch11_sampling.exercises.chain import ALPHA_BAR, doubles
from ddpm_lesson.lesson.kit.exercise import Exercise, Mistake, halved, own_noise


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
        own_noise("eps", like="known"),
        halved(),
    ),
    consequence="A model trained to draw whole digits now completes them, and has never been told what a hole is.",
)
