"""The learning rate, with its warm-up and its cool-down."""

import math

from ddpm_lesson.lesson.kit.exercise import Exercise, Mistake


def half_cosine(share: float) -> float:
    """From 1 to 0 as the share of a fall goes from 0 to 1, along a cosine; before it 1."""
    return 0.5 + 0.5 * math.cos(math.pi * max(share, 0.0))


def learning_rate(step: int, n_steps: int, lr: float, warmup: int, cooldown: int) -> float:
    """Up in the first ``warmup`` steps, down in the last ``cooldown``."""
    rise, fall = (step + 1) / warmup, (n_steps - step) / cooldown
    return lr * min(1.0, rise, fall)


check_learning_rate = Exercise(
    solution=learning_rate,
    cases=[(step, 100, 0.2, 10, 30) for step in (0, 1, 4, 9, 10, 50, 70, 71, 72, 90, 99)]
    + [(step, 20, 1.0, 15, 15) for step in (0, 8, 9, 12, 19)],
    mistakes=(
        Mistake("first step of zero", ("(step + 1)", "step")).says("""
            This looks like a learning rate that starts at 0.
            A step with learning rate 0 is no step.
            Start with `1 / warmup`: `(step + 1) / warmup`."""),
        Mistake("brackets forgotten in the rise", ("(step + 1)", "step + 1")).says("""
            This looks like `step + 1 / warmup`, without brackets.
            What does Python divide first?
            `(step + 1) / warmup`."""),
        Mistake("the largest counts", ("min(", "max(")).says("""
            This looks like `max` where `min` belongs.
            At the first step, which of 1, the rise and the fall should count?
            `lr * min(1, rise, fall)`."""),
        Mistake("warm-up and cool-down swapped", ("warmup: int, cooldown", "cooldown: int, warmup")).says("""
            This looks like `warmup` and `cooldown` swapped.
            Which of the two is at the beginning?
            `(step + 1) / warmup` rises, `(n_steps - step) / cooldown` falls."""),
        Mistake("no ceiling", ("1.0, ", "")).says("""
            This looks like a learning rate that goes on rising after the warm-up.
            Where is the plateau?
            Three things compete: 1, the rise and the fall. `min(1, rise, fall)`."""),
        Mistake("no warm-up", ("1.0, rise, fall", "1.0, fall")).says("""
            This looks like a run without warm-up.
            What should the first of `warmup` steps have?
            `(step + 1) / warmup`, as long as that is less than 1."""),
        Mistake("no cool-down", ("1.0, rise, fall", "1.0, rise")).says("""
            This looks like a run without cool-down, or with one whose brackets are missing.
            How many steps are left, and what share of `cooldown` is that?
            `(n_steps - step) / cooldown`, as long as that is less than 1."""),
        Mistake("product", ("min(1.0, rise, fall)", "min(1.0, rise) * min(1.0, fall)")).says("""
            This looks like rise times fall. It is the same unless warm-up and cool-down meet.
            Try 20 steps with 15 of warm-up and 15 of cool-down.
            The smaller of the two counts: `min(1, rise, fall)`."""),
        Mistake("last step of zero", ("(n_steps - step)", "(n_steps - 1 - step)")).says("""
            This looks like a last step with learning rate 0.
            At `step = n_steps - 1`, how many steps are left, counting this one?
            `(n_steps - step) / cooldown`."""),
        Mistake("fall from the start", ("/ cooldown", "/ n_steps")).says("""
            This looks like a fall over the whole run.
            Only the last `cooldown` steps are to fall.
            Divide by `cooldown`, not by `n_steps`."""),
        Mistake("warm-up downwards", ("step + 1) / warmup", "warmup - step) / warmup if step < warmup else 1")).says("""
            This looks like a warm-up that starts at the top.
            Adam's first steps are the uncertain ones.
            It rises: `(step + 1) / warmup`."""),
        Mistake("cosine in the cool-down", ("1.0, rise, fall", "1.0, rise, half_cosine(1 - fall)")).says("""
            This looks like a cool-down along a cosine. Many runs fall like that; (10.5) falls in a straight line.
            Half-way through the cool-down both have half the rate. And a quarter of the way?
            `(n_steps - step) / cooldown`, as long as that is less than 1."""),
        Mistake("cosine over the run", ("1.0, rise, fall", "1.0, rise) * (half_cosine(step / n_steps)")).says("""
            This looks like a fall along a cosine over the whole run. Many runs fall like that.
            In (10.5) the rate stays at its full value until the last `cooldown` steps.
            `min(1, rise, fall)`, with `fall = (n_steps - step) / cooldown`."""),
        Mistake("steps counted from 1", ("step + 1", "step + 2")).says("""
            This looks like the step counted one too far.
            `step` is 0 for the first step.
            `(step + 1) / warmup` is `1 / warmup` at first."""),
        Mistake("one after the other", ("min(1.0, rise, fall)", "(rise if step < warmup else min(1.0, fall))")).says("""
            This is right until warm-up and cool-down overlap. Then the smaller of the two counts.
            Try 20 steps with 15 of warm-up and 15 of cool-down: what should step 12 have?
            `lr * min(1, rise, fall)` needs no `if`."""),
        Mistake("lr among the shares", ("lr * min(1.0, ", "min(lr, ")).says("""
            This looks like `lr` inside the `min`.
            Rise and fall are shares, from 0 to 1. What are they shares of?
            `lr * min(1, rise, fall)`."""),
        Mistake("zero at both ends", ("(step + 1)", "step", "(n_steps - step)", "(n_steps - 1 - step)")).says("""
            This looks like a learning rate of 0 at the first step and at the last.
            A step with learning rate 0 is no step.
            `(step + 1) / warmup` and `(n_steps - step) / cooldown`."""),
        Mistake("not scaled", ("lr * ", "")).says("""
            This looks like the factor alone, without `lr`.
            The plateau should be as high as `lr`.
            Multiply by `lr`."""),
    ),
    consequence="It is `learning_rate` of the package, with the numbers in a `TrainConfig`.",
    tolerance=1e-6,
)
