"""Checks of exercises: right answers pass in any form, mistakes are named, and nothing a learner writes breaks them."""

import copy
import inspect
import re
import runpy
from dataclasses import replace

import numpy as np
import pytest
import torch
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

from ddpm_lesson.lesson.kit.chance import RandomExercise
from ddpm_lesson.lesson.kit.exercise import Exercise, Later, Mistake, halved, is_stub, own_noise
from tests.lesson.chapters import NOTEBOOKS, cells, exercises
from tests.lesson.mutants import changed

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
    "float16": unless_index(lambda r: torch.as_tensor(r).half() if is_real(r) else r),
    "bfloat16": unless_index(lambda r: torch.as_tensor(r).bfloat16() if is_real(r) else r),
    "numpy": parts(lambda r: torch.as_tensor(r).detach().numpy()),
    "with a graph": unless_index(lambda r: torch.as_tensor(r, dtype=torch.float64).clone().requires_grad_()),
    "list of rows": parts(lambda r: list(r) if torch.as_tensor(r).ndim else r),
    "generator of rows": parts(lambda r: iter(r) if torch.as_tensor(r).ndim else r),
    "one number in a list": parts(lambda r: r if torch.as_tensor(r).ndim else [r]),
}
WITHOUT_GRADIENT = ("numpy",)


def is_real(result):
    return torch.as_tensor(result).is_floating_point()


def learns(exercise):
    """Whether the right answers carry a gradient, so that another form must as well."""
    return not isinstance(exercise, RandomExercise) and any(right.learns for right in exercise.right)


@pytest.mark.parametrize("name", EXERCISES)
def test_is_named_after_the_learners_function(name):
    assert name == f"check_{EXERCISES[name].function}"


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", EXERCISES)
def test_right_answer_passes_in_every_form(name, form):
    exercise = EXERCISES[name]
    result = exercise(lambda *case: FORMS[form](exercise.solution(*case)))
    if form in WITHOUT_GRADIENT and learns(exercise):
        assert "without a gradient" in result.message
        return
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
            assert not exercise.same(one, other)


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
        path.write_text(source, encoding="utf-8")
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


def test_arguments_changed_in_place_are_named():
    message = EXAMPLE(lambda x: x.mul_(2)).message
    assert "Not yet" in message
    assert "changes its argument `x` in place" in message
    assert EXAMPLE(lambda x: x.clone().mul_(2)).passed


def test_a_wrong_answer_is_told_before_the_change_of_an_argument():
    assert EXAMPLE(lambda x: x.mul_(x)).misconception == "square"


def test_lists_of_arguments_must_stay_as_they_are_too():
    total = Exercise(
        function="total", solution=lambda parts: sum(parts), cases=(([1, 2, 3],),), mistakes=(), consequence="Summed."
    )
    assert total(lambda parts: sum(list(parts))).passed
    assert "changes its argument `parts`" in total(lambda parts: parts.pop() + sum(parts)).message


ARGUMENTS = [
    (name, position)
    for name, exercise in EXERCISES.items()
    for position in range(len(exercise.cases[0]))
    if changed(copy.deepcopy(exercise.cases[0][position]))
]


@pytest.mark.parametrize(("name", "position"), ARGUMENTS)
def test_a_right_answer_that_changes_any_argument_is_refused(name, position):
    exercise = EXERCISES[name]
    asked = list(inspect.signature(exercise.solution).parameters)[position]

    def careless(*case):
        answer = copy.copy(exercise.solution(*case))
        answer = parts(lambda part: part.clone() if isinstance(part, torch.Tensor) else part)(answer)
        changed(case[position])
        return answer

    assert f"changes its argument `{asked}` in place" in exercise(careless).message


@pytest.mark.parametrize(
    ("value", "change"),
    [
        ([3, 1, 2], list.sort),
        ([3, 1, 2], list.pop),
        ([3, 1], lambda x: x.append(2)),
        ([(3, 1), (2, 2)], lambda x: x.__setitem__(0, (0, 0))),
        ([[3.0], [1.0]], lambda x: x[1].clear()),
        ((torch.ones(2), 1), lambda x: x[0].zero_()),
        ({"a": 1}, lambda x: x.update(b=2)),
        ({"a": torch.ones(2)}, lambda x: x["a"].add_(1)),
        ({1, 2}, lambda x: x.discard(1)),
        (np.ones(2), lambda x: x.fill(0)),
        (torch.tensor([True, False]), lambda x: x.logical_not_()),
        (torch.ones(2), lambda x: x.resize_(1)),
    ],
)
def test_every_kind_of_argument_is_compared(value, change):
    any_answer = Exercise(
        function="one", solution=lambda x: 1, cases=((value,),), mistakes=(), consequence="One.", where=""
    )
    assert any_answer(lambda x: 1).passed
    assert "changes its argument `x` in place" in any_answer(lambda x: (change(x), 1)[1]).message


def test_what_is_no_number_stays_the_same():
    learning = replace(EXAMPLE, cases=((torch.tensor([torch.nan, 1.0]),),))
    assert learning(lambda x: 2 * x).passed


def test_how_to_leave_an_argument_alone_fits_its_kind():
    total = Exercise(
        function="total", solution=lambda parts: sum(parts), cases=(([1, 2, 3],),), mistakes=(), consequence="Summed."
    )
    message = total(lambda parts: parts.pop() + sum(parts)).message
    assert "start with a copy: `list(parts)`" in message
    assert "clone" not in message
    assert "`x.clone()`" in EXAMPLE(lambda x: x.mul_(2)).message


def test_a_model_may_be_changed():
    layer = Exercise(
        function="doubled",
        solution=lambda model: model.weight.data.mul_(2).sum(),
        cases=((torch.nn.Linear(2, 3),),),
        mistakes=(),
        consequence="Doubled.",
    )
    assert layer(lambda model: (model.weight.data * 2).sum()).passed
    assert layer(layer.solution).passed


def test_a_seed_set_inside_is_refused():
    def seeded(x):
        torch.manual_seed(0)
        return 2 * x

    assert "sets the global seed" in EXAMPLE(seeded).message


def cut(x):
    with torch.no_grad():
        return 2 * x


@pytest.mark.parametrize("cutting", [cut, lambda x: (2 * x).detach(), lambda x: (2 * x).tolist()])
def test_what_a_network_could_not_train_on_is_refused(cutting):
    learning = replace(EXAMPLE, cases=((torch.tensor([1.0, 2.0], requires_grad=True),),))
    assert learning(double).passed
    assert "without a gradient" in learning(cutting).message
    assert EXAMPLE(cutting).passed


def test_gradients_switched_off_inside_are_on_again_in_the_notebook():
    EXAMPLE(lambda x: torch.set_grad_enabled(False) and x)
    assert torch.is_grad_enabled()


SIZES = replace(EXAMPLE, cases=((torch.tensor([1e-6, 1.0, 1e6]),),))


@pytest.mark.parametrize("factor", [1.01, 0.99, 1.0002])
@pytest.mark.parametrize("which", range(3))
def test_each_number_is_judged_by_its_own_size(factor, which):
    scales = torch.ones(3)
    scales[which] = factor
    assert not SIZES(lambda x: 2 * x * scales).passed


@pytest.mark.parametrize(
    ("dtype", "off", "passes"),
    [
        (torch.float16, 1.004, True),
        (torch.float16, 1.03, False),
        (torch.bfloat16, 1.03, True),
        (torch.bfloat16, 1.2, False),
        (torch.float32, 1.00005, True),
        (torch.float32, 1.001, False),
    ],
)
def test_half_precision_is_judged_by_its_own_spacing(dtype, off, passes):
    assert EXAMPLE(lambda x: (2 * off * x).to(dtype)).passed == passes


def without_mean(x):
    return x - x.mean()


def test_what_cancels_is_allowed_the_rounding_of_what_it_cancels_from():
    near = 1000 + torch.tensor([0.001, 0.002, 0.003, 0.02])
    centred = Exercise(solution=without_mean, cases=((near,),), mistakes=(), consequence="Centred.")
    assert centred(lambda x: x - x.sum() / 4).passed
    assert centred(lambda x: x.double() - x.double().mean()).passed
    assert not centred(lambda x: 1.1 * (x - x.mean())).passed


def endless():
    while True:
        yield 1.0


@pytest.mark.parametrize("answer", [lambda *_: endless(), lambda *_: [endless()], lambda *_: map(float, endless())])
@pytest.mark.parametrize("name", EXERCISES)
def test_a_generator_that_never_ends_is_answered(name, answer):
    message = EXERCISES[name](answer).message
    assert "Not yet" in message
    assert "ever end" in message or "must return" in message


def test_a_class_where_a_function_is_asked_is_told_so():
    class Double:
        def __init__(self, x):
            self.x = x

    assert "must be a function; got a class, `Double`" in EXAMPLE(Double).message


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
    assert "where 5 is right for x = 5, t = 0, as value 1 of 2" in BOTH(lambda x, t: (x + max(t, 0.5), x - t)).message
    assert "NaN for x = 2, t = 1, as value 2 of 2" in BOTH(lambda x, t: (x + t, float("nan"))).message
    assert "ZeroDivisionError: float division by zero (tried with x = 5, t = 0)" in BOTH(lambda x, t: x / t).message


def test_shape_and_nan_are_named():
    assert "must return shape (2,) here; got (2, 1)" in EXAMPLE(lambda x: 2 * x[:, None]).message
    assert "returned NaN" in EXAMPLE(lambda x: x * torch.nan).message


@pytest.mark.parametrize("name", ["eig", "eigvals"])
def test_eigenvalues_of_nan_are_told_before_they_end_the_kernel(name):
    message = EXAMPLE(lambda x: getattr(torch.linalg, name)(x.diag() * torch.nan)).message
    assert "eigenvalues of NaN or infinity were asked for" in message
    assert torch.linalg.eigvals(torch.eye(2)).real.tolist() == [1, 1]  # as it was


def test_keyboard_interrupt_is_not_swallowed():
    with pytest.raises(KeyboardInterrupt):
        EXAMPLE(raises(KeyboardInterrupt()))


@pytest.mark.parametrize("path", NOTEBOOKS[1:13], ids=lambda path: path.stem)
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


def test_a_root_that_was_halved_is_recognised_by_its_words():
    edit = replace(EXAMPLE, mistakes=[halved("2 * x", "x ** 1 / 2")])
    assert edit(lambda x: x / 2).misconception == "halved for rooted"
    assert "What is `9 ** 1/2`?" in edit(lambda x: x / 2).message


def both_roots(x):
    return x.sqrt() + (1 + x) ** 0.5


def test_without_edits_all_roots_are_halved():
    rooted = replace(EXAMPLE, solution=both_roots, cases=((torch.tensor([4.0, 9.0]),),), mistakes=[halved()])
    assert rooted(lambda x: x**1 / 2 + (1 + x) ** 1 / 2).misconception == "halved for rooted"


@pytest.mark.parametrize("name", sorted(EXERCISES))
def test_whoever_halves_in_place_of_a_root_is_told(name):
    exercise = EXERCISES[name]
    if re.search(r"\.sqrt\(\)|\*\* ?0\.5", inspect.getsource(exercise.solution)):
        assert "halved for rooted" in [mistake.name for mistake in exercise.mistakes]


def noisy(x, z):
    return x + 2 * z


def test_noise_of_ones_own_is_recognised():
    drawn = replace(
        EXAMPLE, solution=noisy, cases=((torch.ones(5), torch.zeros(5)),), mistakes=[own_noise("z", like="x")]
    )
    result = drawn(lambda x, z: x + 2 * torch.randn_like(x))
    assert result.misconception == "own noise"
    assert "Use the argument `z`." in result.message


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
    with pytest.raises(ValueError, match="words of 'a' must be 3 lines; got 2"):
        Mistake("a", double).says("One.\nTwo.")
