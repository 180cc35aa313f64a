"""Systematic slips in every solution are refused; those that change nothing are listed, each with the reason."""

import inspect

import pytest
import torch

from ddpm_lesson.lesson.kit.chance import RandomExercise
from tests.lesson import mutants
from tests.lesson.chapters import exercises

EXERCISES = exercises()
SQUARED = "the difference is squared"
ONE_AXIS = "there is one axis"
EQUIVALENT = {
    "gaussian_kl": {"mean1 - mean2 -> mean2 - mean1": SQUARED},
    "alpha_bars": {"0 -> -1": ONE_AXIS},
    "quadratic_alpha_bar": {"0 -> -1": ONE_AXIS},
    "mean_from_eps": {"0 -> -1": ONE_AXIS},
    "loss_weight": {"0 -> -1": ONE_AXIS},
    "clipped_step": {"0 -> -1": ONE_AXIS},
    "simple_loss": {"eps_model(xt, t) - eps -> eps - eps_model(xt, t)": SQUARED},
    "train_on": {"eps_model(xt, t) - eps -> eps - eps_model(xt, t)": SQUARED},
    "frechet": {"mean1 - mean2 -> mean2 - mean1": SQUARED},
    "nearest": {"training_images - image -> image - training_images": SQUARED},
    "inpaint_step": {
        "0 -> 1": "any entry gives the shape of a one",
        "0 -> -1": "any entry gives the shape of a one",
    },
}


def all_mutants(exercise):
    """Slips in the source, and in conduct where the arguments and answers leave room for them."""
    yield from mutants.edits(exercise.solution)
    random = isinstance(exercise, RandomExercise)
    learns = not random and any(right.learns for right in exercise.right)
    tensors = any(type(argument) is torch.Tensor for case in exercise.cases for argument in case)
    needs = {"gradient detached": learns, "loss as a number": learns and exercise.right[0].parts[0].ndim == 0}
    needs |= {"inputs changed in place": tensors}
    yield from ((name, mutant) for name, mutant in mutants.habits(exercise.solution) if needs.get(name, True))


@pytest.mark.parametrize("name", EXERCISES)
def test_every_slip_is_refused_unless_it_changes_nothing(name):
    exercise = EXERCISES[name]
    if not inspect.getmodule(exercise.solution).__name__.startswith("ddpm_lesson"):
        pytest.skip("the solution is PyTorch's own function")
    passed = [(slip, exercise(mutant).passed) for slip, mutant in all_mutants(exercise)]
    accepted = [slip for slip, accepted in passed if accepted]
    print(f"{name}: {len(passed)} made, {len(passed) - len(accepted)} refused, {len(accepted)} equivalent")
    assert sorted(accepted) == sorted(EQUIVALENT.get(exercise.function, {}))


@pytest.mark.parametrize("name", EXERCISES)
def test_solution_has_a_source_to_mutate(name):
    assert mutants.solution_tree(EXERCISES[name].solution) is not None


def test_every_equivalent_slip_belongs_to_an_exercise():
    assert set(EQUIVALENT) <= {exercise.function for exercise in EXERCISES.values()}
