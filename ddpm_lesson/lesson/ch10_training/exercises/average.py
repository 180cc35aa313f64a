"""The running average of the weights."""

from collections.abc import Iterator
from itertools import count

import torch
from torch import Tensor

from ddpm_lesson.lesson.kit.exercise import Exercise, Mistake, numbers


def averaged(weights: Tensor, updates: Tensor, decay: float) -> Tensor:
    """The running average (10.1) of weights that take one update after the other."""
    average = weights.clone()
    for update in updates:
        weights = weights + update
        average = decay * average + (1 - decay) * weights
    return average


def warmed_up(decay: float) -> Iterator[float]:
    """The decay that training uses, which grows with the steps."""
    return (min(decay, (1 + k) / (10 + k)) for k in count(1))


def wander(n: int, seed: int) -> tuple[Tensor, Tensor]:
    """First weights and n updates."""
    path = numbers(n + 1, 4, seed=seed, dtype=torch.float64)
    return path[0] + 1, path[1:]


check_averaged = Exercise(
    solution=averaged,
    cases=[(*wander(1, 0), 0.9), (*wander(5, 1), 0.8), (*wander(12, 2), 0.97)],
    mistakes=(
        Mistake("decay swapped", ("decay * average + (1 - decay)", "(1 - decay) * average + decay")).says("""
            This looks like `decay` and `1 - decay` swapped.
            With a decay of 0.9999 the average must hardly move. Does yours?
            `decay * average + (1 - decay) * weights`."""),
        Mistake("average is the weights", ("return average", "return weights")).says("""
            This returns the last weights themselves.
            Where is the memory of the weights before?
            `average = decay * average + (1 - decay) * weights` after every update."""),
        Mistake(
            "two names for one tensor",
            (".clone()", "", "= weights +", "+=", "= decay * average +", "*= decay; average +="),
        ).says("""
            This looks like `average` and `weights` being one and the same tensor, changed in place.
            `average = weights` makes no copy. What does `weights += update` do then?
            Start with `average = weights.clone()`."""),
        Mistake("starts after the first update", (".clone()", "", "= weights +", "+=")).says("""
            This looks like an average that starts with the weights *after* their first update.
            Did you mean to? If not: `average = weights` makes no copy, and `weights += update` changes both.
            Start with `average = weights.clone()`. (`AveragedModel` starts one step later, in training.)"""),
        Mistake("with warm-up", ("update in updates", "decay, update in zip(warmed_up(decay), updates)")).says("""
            This looks like the average with its warm-up.
            A good idea for a real run. Here the decay is the same in every step.
            `decay * average + (1 - decay) * weights`."""),
        Mistake("fed back into the weights", ("average = decay", "weights = average = decay")).says("""
            This looks like the average written over the weights that are trained, or mixed once, after the loop.
            The average only watches, at every step. The weights must not notice it.
            Keep two tensors: `weights` gets the updates, and `average` is mixed after each of them."""),
        Mistake("updates that do not add up", ("weights = w", "new = w", "* weights", "* new")).says("""
            This looks like every update added to the *first* weights.
            Training walks on from where the last step ended.
            `weights = weights + update`, and then the average."""),
        Mistake("one step behind", ("weights = w", "old, weights = weights, w", "* weights", "* old")).says("""
            This looks like an average that takes in the weights before their update.
            Which comes first, the step of the optimiser or the average?
            First `weights = weights + update`, then the average."""),
        Mistake("starts at zero", ("weights.clone()", "torch.zeros_like(weights)")).says("""
            This looks like an average that starts at zero.
            After the first step it would hold a tenth of the weights, or a ten-thousandth.
            Start with a copy of the first weights."""),
        Mistake(
            "starts at zero and says so", ("weights.clone()", "0", "return ", "return 1 / (1 - decay**len(updates)) * ")
        ).says("""
            This looks like Adam's way: start at zero and divide by $1 - d^n$.
            A good idea, but (10.1) starts with a copy of the first weights.
            Start with `weights.clone()`, and divide by nothing."""),
        Mistake(
            "plain mean", lambda first, updates, decay: torch.stack([first, *(first + updates.cumsum(0))]).mean(0)
        ).says("""
            This looks like the plain mean of all weights.
            It never forgets the random first weights.
            What is new counts `1 - decay`, whatever came before."""),
        Mistake("not a mean", ("(1 - decay) * ", "")).says("""
            This looks like a sum that grows: the factors do not add up to 1.
            If the weights stood still, the average should stand still too.
            `(1 - decay)` in front of the weights."""),
        Mistake("updates averaged", ("* weights", "* update")).says("""
            This looks like an average of the updates.
            What is sampled from later, weights or updates?
            Mix `weights`, after `update` has been added to them."""),
    ),
    consequence="The package leaves this to `torch.optim.swa_utils.AveragedModel`, and only tells it the decay.",
    tolerance=1e-6,
)
