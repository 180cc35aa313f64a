"""Builds of every chapter: the solution passes, every slip in it is refused, whatever a learner builds is answered."""

import ast
import inspect
import itertools
import re

import numpy as np
import pytest
import torch
from torch import nn

from ddpm_lesson.lesson.kit.build import Build, Stage, unlike
from ddpm_lesson.lesson.kit.pieces import PIECES
from tests.lesson import mutants
from tests.lesson.chapters import NOTEBOOKS, builds, cells

BUILDS = builds()
ONE_AXIS = "a schedule has one axis: the first is the last"
EQUIVALENT: dict[str, dict[str, str]] = {  # slips that change nothing, by build, each with the reason
    "build_posterior": {"0 -> -1": ONE_AXIS},
    "build_best_variance": {"0 -> -1": ONE_AXIS},
    "build_sample": {
        "0 -> -1": ONE_AXIS,
        "prev.sqrt() * x0_hat + (1 - prev - sigma2).sqrt() * eps + sigma2.sqrt() * z -> "
        "prev.sqrt() * x0_hat + (1 - prev - sigma2).sqrt() * eps - sigma2.sqrt() * z": "z is as likely as -z",
    },
    "build_evaluate": {"x.mean(0) - y.mean(0) -> y.mean(0) - x.mean(0)": "the difference is squared"},
}


@pytest.mark.parametrize("name", BUILDS)
def test_solution_passes_and_says_what_follows(name):
    result = BUILDS[name](BUILDS[name].solution)
    assert result.passed, result.message
    assert BUILDS[name].consequence in result.message


@pytest.mark.parametrize("name", BUILDS)
def test_solution_as_printed_in_the_notebook_passes(name):
    build = BUILDS[name]
    texts = [cells(path, "markdown") for path in NOTEBOOKS if name in cells(path, "code")]
    blocks = [block for text in texts for block in re.findall(r"```python\n(.*?)```", text, re.S)]
    printed = [block for block in blocks if re.search(rf"^(def|class) {build.name}\b", block, re.M)]
    assert len(printed) == 1, f"{name}: the solution must be printed once, folded, beside its check"
    namespace = {"torch": torch, "nn": nn, "F": nn.functional}
    exec(compile(printed[0], "<notebook>", "exec"), namespace)
    assert build(namespace[build.name]).passed


@pytest.mark.parametrize("name", BUILDS)
def test_stub_in_the_notebook_is_not_attempted(name):
    text = next(cells(path, "code") for path in NOTEBOOKS if f"{name}(" in cells(path, "code"))
    assert f"{name}({BUILDS[name].name})" in text


@pytest.mark.slow
@pytest.mark.parametrize("name", BUILDS)
def test_every_slip_is_refused_unless_it_changes_nothing(name):
    build = BUILDS[name]
    passed = [(slip, build(mutant).passed) for slip, mutant in mutants.edits(build.solution)]
    accepted = [slip for slip, accepted in passed if accepted]
    print(f"{name}: {len(passed)} made, {len(passed) - len(accepted)} refused, {len(accepted)} equivalent")
    assert sorted(accepted) == sorted(EQUIVALENT.get(name, {}))


FUNCTIONS = [
    (name, i)
    for name, build in BUILDS.items()
    if not isinstance(build.solution, type)
    for i, _ in enumerate(inspect.signature(build.solution).parameters)
]


@pytest.mark.parametrize(("name", "position"), FUNCTIONS)
def test_a_right_build_that_changes_a_list_or_tensor_is_refused(name, position):
    build, changes = BUILDS[name], []

    def careless(*arguments, **named):
        result = build.solution(*arguments, **named)
        if len(arguments) > position and isinstance(arguments[position], (list, tuple, np.ndarray, torch.Tensor)):
            changes.append(mutants.changed(arguments[position]))
        return result

    message = build(careless).message
    assert ("changes its argument" in message) == any(changes)
    assert build(build.solution).passed  # what was changed is as it was


MODULES = [name for name, build in BUILDS.items() if isinstance(build.solution, type)]


@pytest.mark.parametrize("name", MODULES)
def test_a_right_module_that_changes_its_input_is_refused(name):
    build, changes = BUILDS[name], []

    class Careless(build.solution):
        def forward(self, x, *others):
            result = super().forward(x.clone(), *others)
            changes.append(mutants.changed(x))
            return result

    argument = list(inspect.signature(build.solution.forward).parameters)[1]
    assert f"changes its argument `{argument}` in place" in build(Careless).message
    assert any(changes)
    assert build(build.solution).passed


class Empty:
    def __init__(self, *_, **__): ...


class Silent(nn.Module):
    def __init__(self, *_, **__):
        super().__init__()

    def forward(self, *_, **__):
        print(end="")


class Endless(nn.Module):
    def __init__(self, *_, **__):
        super().__init__()

    def forward(self, *_):
        yield from itertools.count()


def seeds(*_, **__):
    torch.manual_seed(0)


def fails(*_, **__):
    raise SystemExit


WRONG = {
    "none": lambda *_, **__: None,
    "a word": lambda *_, **__: "word",
    "NaN": lambda *_, **__: torch.tensor(torch.nan),
    "wrong arguments": lambda: 0,
    "exits": fails,
    "seeds": seeds,
    "endless": lambda *_, **__: itertools.count(),
    "a class without anything": Empty,
    "a module that returns nothing": Silent,
    "a module that never ends": Endless,
    "a number": 3,
    "a module itself": nn.Linear(1, 1),
}


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("name", BUILDS)
def test_whatever_is_built_is_answered(name, wrong):
    random = torch.random.get_rng_state()
    result = BUILDS[name](WRONG[wrong])
    assert not result.passed
    assert result.message.startswith(("**Not yet.**", "*Your turn"))
    assert torch.equal(torch.random.get_rng_state(), random)


@pytest.mark.parametrize("name", BUILDS)
def test_build_is_written_as_its_piece_says(name):
    build = BUILDS[name]
    if build.name in PIECES:
        wanted = [p.strip() for p in PIECES[build.name].signature.split("(")[1].rstrip(")").split(",")]
        assert list(inspect.signature(build.solution).parameters) == wanted
    if isinstance(build.solution, type):
        assert ast.get_docstring(mutants.solution_tree(build.solution))


# The mechanism


def double(x):
    return 2 * x


def is_double(built):
    return unlike(built(torch.ones(3)), 2 * torch.ones(3), 1e-6)


DOUBLE = Build(double, [Stage(is_double, "Twice.", "`2 * x`")], "It is twice as much.")


def no_return(x):
    y = x  # noqa: F841


@pytest.mark.parametrize(
    ("built", "words"),
    [
        (no_return, "must give a tensor; got nothing. Is the `return` missing?"),
        (lambda x: x[:2] * 2, r"must give shape \(3,\) here; got \(2,\)"),
        (lambda x: x / 0, "gave NaN or infinity"),
        (lambda x: x, "gave 1 where 2 is right"),
        (lambda x: x.no, "stopped with AttributeError"),
        (nn.Linear, "must be a function, given itself, without parentheses; got a class"),
        (3, "got a value"),
        (lambda x: torch.manual_seed(0) and 2 * x, "sets the global seed"),
    ],
)
def test_what_was_seen_is_said(built, words):
    assert re.search(words, DOUBLE(built).message)


def test_a_global_seed_is_told_without_hints_about_values():
    assert "Hint" not in DOUBLE(lambda x: torch.manual_seed(0) and 3 * x).message


def test_numbers_are_told_with_as_many_digits_as_it_takes():
    near = Build(double, [Stage(lambda built: unlike(built(torch.ones(())), torch.tensor(2.0), 1e-6))], "")
    assert "gave 2.00001 where 2 is right" in near(lambda x: 2 * x + 1e-5).message


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ([1.0], "The sum must be a tensor; got list."),
        (torch.ones(2), "The sum must have shape (1,) here; got (2,)."),
        (torch.tensor([torch.nan]), "The sum is NaN or infinity."),
        (torch.tensor([3.0]), "The sum is 3 where 1 is right."),
    ],
)
def test_what_a_build_gave_may_be_called_by_its_own_name(value, words):
    assert unlike(value, torch.ones(1), 0, "The sum", gives=False) == words


def total(parts, state):
    state["calls"] = state.get("calls", 0) + 1
    return torch.stack(parts).sum()


def sums(built):
    return unlike(built([torch.ones(2), torch.ones(2)], {}), torch.tensor(4.0), 0)


TOTAL = Build(total, [Stage(sums, "Add.", "`sum`")], "It is the sum.")


@pytest.mark.parametrize(
    "careless",
    [
        lambda parts, state: (parts.pop() + parts.pop()).sum(),
        lambda parts, state: parts[0].add_(parts[1]).sum(),
        lambda parts, state: (total(parts, state), parts.reverse(), parts.clear())[0],
    ],
)
def test_what_is_changed_in_place_is_named(careless):
    assert "`total` changes its argument `parts` in place" in TOTAL(careless).message


def test_a_state_is_there_to_be_carried_on():
    assert TOTAL(total).passed


def unfinished(x):
    raise NotImplementedError


@pytest.mark.parametrize("built", [..., None, unfinished])
def test_what_is_not_written_is_your_turn(built):
    assert DOUBLE(built).message.startswith("*Your turn")


class Doubling(nn.Module):
    def __init__(self):
        super().__init__()

    def forward(self, x):
        return 2 * x


class OnlyBegun(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 3)


class ByInheritance(Doubling):
    pass


class AsSequence(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Identity())


class OnlyNamed(nn.Module):
    """Will double."""

    def __init__(self):
        super().__init__()


class HalfWritten(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 3)

    def forward(self, x): ...


def test_words_of_a_stage_are_two_lines():
    stage = Stage(is_double).says("""
        A hint that
            goes on.
        A stronger one.""")
    assert stage == Stage(is_double, "A hint that goes on.", "A stronger one.")
    with pytest.raises(ValueError, match="words of 'is_double' must be 2 lines; got 1"):
        Stage(is_double).says("A hint.")


class Powers(nn.Module):
    """A factor for each of a list of exponents."""

    def __init__(self, exponents):
        super().__init__()
        self.factors = [2**k for k in exponents]

    def forward(self, x):
        return [factor * x for factor in self.factors]


class PopsExponents(Powers):
    def __init__(self, exponents):
        super().__init__(exponents)
        exponents.pop()


def test_what_makes_a_module_stays_as_it_is_too():
    powers = Build(Powers, [Stage(lambda built: unlike(built([1, 2])(torch.ones(()))[0], torch.tensor(2.0)))], "")
    assert powers(Powers).passed
    assert "changes its argument `exponents` in place" in powers(PopsExponents).message


CLASS = Build(Doubling, [Stage(lambda built: is_double(built()), "Twice.", "`2 * x`")], "It is twice as much.")


@pytest.mark.parametrize("built", [OnlyNamed, HalfWritten])
def test_class_without_a_written_method_is_your_turn(built):
    assert CLASS(built).message.startswith("*Your turn")


def test_class_that_inherits_is_judged_by_what_it_does():
    assert CLASS(ByInheritance).passed
    assert "gave 1 where 2 is right" in CLASS(AsSequence).message
    assert 'missing the required "forward"' in CLASS(OnlyBegun).message


def test_place_of_the_build_is_said():
    lines = inspect.getsource(inspect.getmodule(double)).splitlines()
    line = 1 + next(i for i, text in enumerate(lines) if text.startswith("DOUBLE = "))
    assert f"tests/lesson/kit/test_build.py`, line {line}" in DOUBLE(lambda x: x).message
