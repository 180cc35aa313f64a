"""Checks of exercises: right answers pass in any form, mistakes are named, and nothing a learner writes breaks them."""

import inspect
import runpy
from dataclasses import replace

import numpy as np
import pytest
import torch
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

from ddpm_lesson.lesson.kit.exercise import Exercise, Later, Mistake, is_stub, same
from tests.lesson.chapters import NOTEBOOKS, cells, exercises

EXERCISES = exercises()
BANK = [(exercise, mistake) for exercise in EXERCISES.values() for mistake in exercise.known]


def parts(function):
    """Apply ``function`` to a result, or to each part of a tuple."""
    return lambda result: tuple(map(function, result)) if isinstance(result, tuple) else function(result)


def unless_index(function):
    """Apply ``function`` but to the times of ``draw_batch``, which must stay whole numbers."""
    return parts(lambda r: r if isinstance(r, torch.Tensor) and r.dtype == torch.int64 and r.ndim == 1 else function(r))


FORMS = {
    "as it is": lambda result: result,
    "float64": unless_index(lambda r: torch.as_tensor(r).double()),
    "float32": unless_index(lambda r: torch.as_tensor(r).float()),
    "numpy": parts(lambda r: torch.as_tensor(r).detach().numpy()),
    "with a graph": unless_index(lambda r: torch.as_tensor(r, dtype=torch.float64).clone().requires_grad_()),
}


@pytest.mark.parametrize("name", EXERCISES)
def test_is_named_after_the_learners_function(name):
    assert name == f"check_{EXERCISES[name].function}"


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", EXERCISES)
def test_right_answer_passes_in_every_form(name, form):
    exercise = EXERCISES[name]
    result = exercise(lambda *case: FORMS[form](exercise.solution(*case)))
    assert result.passed
    assert result.misconception is None
    assert exercise.consequence in result.message


@pytest.mark.parametrize("name", EXERCISES)
def test_every_mistake_has_its_own_words(name):
    mistakes = EXERCISES[name].known
    assert (
        len({mistake.name for mistake in mistakes}) == len({mistake.words[0] for mistake in mistakes}) == len(mistakes)
    )


@pytest.mark.parametrize(("exercise", "mistake"), BANK, ids=[f"{e.function}: {m.name}" for e, m in BANK])
def test_mistake_is_recognised_by_name(exercise, mistake):
    result = exercise(mistake.function)
    assert not result.passed
    assert result.misconception == mistake.name
    assert all(words in result.message for words in mistake.words)


@pytest.mark.parametrize("name", EXERCISES)
def test_no_two_mistakes_give_the_same_answers(name):
    exercise = EXERCISES[name]
    for i, one in enumerate(exercise.answers):
        for other in exercise.answers[i + 1 :]:
            assert not same(one, other, exercise.tolerance)


def raises(error):
    def function(*_):
        raise error

    return function


BROKEN = {
    "a number": lambda *_: 3.0,
    "a word": lambda *_: "five",
    "a list of words": lambda *_: ["a", "b"],
    "a dictionary": lambda *_: {"a": 1},
    "too many parts": lambda *_: (torch.zeros(1), torch.zeros(1), torch.zeros(1), torch.zeros(1)),
    "an empty tensor": lambda *_: torch.zeros(0),
    "another shape": lambda *_: torch.zeros(7, 5, 3),
    "NaN": lambda *case: torch.full((1,), torch.nan),
    "infinity": lambda *_: float("inf"),
    "complex": lambda *_: torch.ones(2, dtype=torch.complex64),
    "an exception": raises(RuntimeError("shapes do not fit")),
    "an exception without words": raises(KeyError()),
    "exit": raises(SystemExit(1)),
    "endless recursion": raises(RecursionError("maximum recursion depth exceeded")),
    "no arguments": lambda: 1,
    "a function": lambda *_: len,
    "not a function": torch.zeros(3),
    "a number instead of a function": 3,
    "the function's name": "q_sample",
    "a class": int,
}


@pytest.mark.parametrize("broken", BROKEN)
@pytest.mark.parametrize("name", EXERCISES)
def test_whatever_a_learner_writes_is_answered_with_help(name, broken):
    result = EXERCISES[name](BROKEN[broken])
    assert not result.passed
    assert result.misconception is None
    assert EXERCISES[name].function in result.message
    assert "Not yet" in result.message


def nothing(*_):
    pass


def test_an_operation_that_pytorch_refuses_is_no_stub():
    result = EXERCISES["check_q_sample"](
        lambda x0, t, eps, alpha_bar: torch.randn_like(torch.zeros(3, dtype=torch.uint8))
    )
    assert "stopped with NotImplementedError" in result.message


@pytest.mark.parametrize("stub", [nothing, lambda *_: ..., raises(NotImplementedError())])
@pytest.mark.parametrize("name", EXERCISES)
def test_stub_gets_a_friendly_line(name, stub):
    result = EXERCISES[name](stub)
    assert not result.passed
    assert result.misconception is None
    assert "Your turn" in result.message


def forgets_to_return(*arguments):
    answer = arguments[0]
    answer = [answer]


@pytest.mark.parametrize("name", EXERCISES)
def test_forgotten_return_is_no_stub(name):
    message = EXERCISES[name](forgets_to_return).message
    assert "Your turn" not in message
    assert "`return` missing" in message


IDLE = [
    "def f(x): ...",
    "def f(x):\n    pass",
    'def f(x):\n    """Words."""',
    'def f(x):\n    """Words."""\n\n    # your code here\n    ...\n    pass\n    return None',
    "def f(x):\n    return",
]
BUSY = [
    "def f(x):\n    x * 2",
    "def f(x):\n    y = 3",
    "def f(x):\n    print(end='')",
    "f = lambda x: None",
    "f = print",
]


@pytest.mark.parametrize(("source", "stub"), [*((s, True) for s in IDLE), *((s, False) for s in BUSY)])
@pytest.mark.parametrize("place", ["file", "cell", "nowhere"])
def test_stub_is_told_by_its_source(source, stub, place, tmp_path):
    if place == "file":
        path = tmp_path / "mine.py"
        path.write_text(source)
        namespace = runpy.run_path(str(path))
    elif place == "cell":
        shell = InteractiveShell(config=Config(HistoryManager={"enabled": False}))
        shell.run_cell(source).raise_error()
        namespace = shell.user_ns
    else:
        exec(source, namespace := {})
    assert is_stub(namespace["f"]) == (stub and place != "nowhere")


def double(x):
    return 2 * x


EXAMPLE = Exercise(
    solution=double,
    cases=((torch.tensor([1.0, 2.0]),), (torch.tensor([3.0, -1.0]),)),
    mistakes=(
        Mistake("square", lambda x: x**2).says("""
        This looks like a square.
        Add.
        x + x."""),
    ),
    consequence="Twice as much.",
)


def test_arguments_may_be_changed_in_place():
    assert EXAMPLE(lambda x: x.mul_(2)).passed
    assert EXAMPLE(lambda x: x.mul_(2)).passed


def test_noise_of_the_notebook_goes_on_as_if_nothing_had_been_checked():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    EXAMPLE(lambda x: torch.rand(2))
    assert torch.equal(torch.rand(3), expected)


def test_numpy_arithmetic_inside_is_welcome():
    assert EXAMPLE(lambda x: np.multiply(x.numpy(), 2)).passed


def test_unknown_mistake_says_what_came_out_and_what_is_right():
    message = EXAMPLE(lambda x: 2 * x + 1).message
    assert "returned 3 where 2 is right" in message
    assert "returned 3.5 where 2 is right" in EXAMPLE(lambda x: 2 * x + 1.5).message


def test_whole_numbers_are_told_to_the_last_digit():
    count = replace(EXAMPLE, cases=((torch.tensor(61_728),),))
    assert "returned 123,700 where 123,456 is right" in count(lambda x: 2 * x + 244).message


BOTH = Exercise(
    function="both",
    solution=lambda x, t: (x + t, x - t),
    cases=((2.0, 1), (5.0, 0)),
    mistakes=(
        Mistake("swapped", lambda x, t: (x - t, x + t)).says("""
        Swapped.
        Look again.
        Turn them."""),
    ),
    consequence="Two at once.",
)


@pytest.mark.parametrize("form", [list, torch.tensor, np.array, tuple])
def test_a_list_or_tensor_may_stand_for_a_tuple(form):
    assert BOTH(lambda x, t: form((x + t, x - t))).passed
    assert BOTH(lambda x, t: form((x - t, x + t))).misconception == "swapped"


def test_one_number_where_there_should_be_two_is_counted():
    message = EXERCISES["check_nearest"](lambda *_: torch.tensor(0)).message
    assert "must return 2 value(s); got 1" in message


def test_a_tuple_of_numbers_may_stand_for_a_tensor():
    assert EXAMPLE(lambda x: tuple((2 * x).tolist())).passed


@pytest.mark.parametrize("form", [list, tuple, iter, np.array])
def test_a_tuple_or_generator_may_stand_for_a_list(form):
    counts = Exercise(
        function="counts", solution=lambda n: [n, 2 * n, 3 * n], cases=((1,), (4,)), mistakes=(), consequence="Counted."
    )
    assert counts(lambda n: form([n, 2 * n, 3 * n])).passed
    assert "must return shape (3,) here; got (2,)" in counts(lambda n: form([n, 2 * n])).message


def test_the_numbers_that_were_tried_are_named():
    assert "where 5 is right for x = 5, t = 0" in BOTH(lambda x, t: (x + max(t, 0.5), x - t)).message
    assert "ZeroDivisionError: float division by zero (tried with x = 5, t = 0)" in BOTH(lambda x, t: x / t).message


def test_shape_and_nan_are_named():
    assert "must return shape (2,) here; got (2, 1)" in EXAMPLE(lambda x: 2 * x[:, None]).message
    assert "returned NaN" in EXAMPLE(lambda x: x * torch.nan).message


def test_keyboard_interrupt_is_not_swallowed():
    with pytest.raises(KeyboardInterrupt):
        EXAMPLE(raises(KeyboardInterrupt()))


@pytest.mark.parametrize("path", NOTEBOOKS[1:], ids=lambda path: path.stem)
def test_notebook_has_at_least_three_exercises(path):
    code = cells(path, "code")
    assert sum(f"{name}({exercise.function})" in code for name, exercise in EXERCISES.items()) >= 3


def test_every_check_is_used_in_a_notebook():
    code = "\n".join(cells(path, "code") for path in NOTEBOOKS)
    assert [name for name in EXERCISES if f"{name}(" not in code] == []


# An exercise and its mistakes, as they are written down


def test_a_refused_exercise_says_where_it_stands():
    source = inspect.getsource(inspect.getmodule(nothing)).splitlines()
    line = source.index("EXAMPLE = Exercise(") + 1
    assert f"Checked by `tests/lesson/kit/test_exercise.py`, line {line}" in EXAMPLE(lambda x: x).message
    assert "Checked by" not in EXAMPLE(double).message
    assert "Checked by" not in EXAMPLE(nothing).message


def test_a_mistake_may_be_an_edit_of_the_solution():
    edit = replace(EXAMPLE, mistakes=[Mistake("thrice", ("2 * x", "3 * x")).says("Three.\nTwo.\nAdd.")])
    assert edit(lambda x: x * 3).misconception == "thrice"


def test_a_mistake_may_be_several_edits_one_after_the_other():
    edit = replace(EXAMPLE, mistakes=[Mistake("less", ("2 *", "3 *", "3 * x", "3 - x")).says("Three.\nTwo.\nAdd.")])
    assert edit(lambda x: 3 - x).misconception == "less"


@pytest.mark.parametrize("old", ["4 * x", "x"])
def test_an_edit_must_fit_once(old):
    edit = replace(EXAMPLE, mistakes=[Mistake("thrice", (old, "3 * x"))])
    with pytest.raises(ValueError, match="old must stand once in double"):
        edit(lambda x: x * 3)


def test_later_cases_are_made_once_and_when_asked_for():
    made = []
    cases = Later(lambda: made.append(1) or EXAMPLE.cases)
    later = replace(EXAMPLE, cases=cases)
    assert made == []
    assert later(double).passed
    assert later(lambda x: x**2).misconception == "square"
    assert len(cases) == 2
    assert made == [1]


def test_words_are_three_lines_that_may_go_on_further_in():
    words = (
        Mistake("a", double)
        .says("""
        It looks
            like this.
        Hint.
        Stronger.""")
        .words
    )
    assert words == ("It looks like this.", "Hint.", "Stronger.")
    with pytest.raises(ValueError, match="words of 'a' must be three lines; got 2"):
        Mistake("a", double).says("One.\nTwo.")
