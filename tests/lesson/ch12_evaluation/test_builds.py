"""The build of notebook 12: right answers pass in any precision, and wrong floors are told, whatever chance does."""

import pytest

from ddpm_lesson.lesson.ch12_evaluation.builds import build_evaluate, evaluate
from ddpm_lesson.lesson.kit.exercise import edited

ORDER, SETS = "torch.randperm(len(real))", "real[order[:n]], real[order[n:]]"
HALVES = "real[order[: len(real) // 2]], real[order[len(real) // 2 :]]"
BY_SORTING = "torch.rand(len(real)).argsort()"


def in_float32(samples, real, floor_draws):
    return evaluate(samples.float(), real.float(), floor_draws)


def as_a_number(samples, real, floor_draws):
    distance, floor = evaluate(samples, real, floor_draws)
    return float(distance), floor


def as_a_list(samples, real, floor_draws):
    distance, floor = evaluate(samples, real, floor_draws)
    return distance, floor.tolist()


repeatable = edited(  # as split_floors of the notebook: the splits of a call differ, and the next call has them again
    evaluate, "floor, n =", "generator = torch.Generator().manual_seed(0)\n    floor, n =", "(len(real))",
    "(len(real), generator=generator)",
)  # fmt: skip


@pytest.mark.parametrize("answer", [in_float32, as_a_number, repeatable, edited(evaluate, ORDER, BY_SORTING)])
def test_other_right_answers_pass(answer):
    result = build_evaluate(answer)
    assert result.passed, result.message


NUMPYS = [f"torch.tensor(__import__('numpy').random.default_rng({seed}).permutation(len(real)))" for seed in range(12)]


@pytest.mark.parametrize("order", [ORDER, BY_SORTING, *NUMPYS])
def test_a_floor_of_halves_is_told_whatever_chance_does(order):
    message = build_evaluate(edited(evaluate, ORDER, order, SETS, HALVES)).message
    assert "of 40 and 200 rows. Your two sets share rows, leave some out, or have other sizes." in message
    assert "with `n = len(samples)`" in message


@pytest.mark.parametrize(
    ("edits", "words"),
    [
        ((SETS, "real[order[:n]], real"), "should stand in exactly one of two sets"),
        ((SETS, "real[order[:n]], real[order[n + 1 :]]"), "should stand in exactly one of two sets"),
        ((ORDER, "torch.randint(len(real), (len(real),))"), "should stand in exactly one of two sets"),
        ((ORDER, "torch.arange(len(real))"), "times the distance of two fresh sets"),
        ((ORDER, "torch.arange(len(real)).roll(int(torch.randint(len(real), ())))"), "times"),
        (("(len(real))", "(len(real), generator=torch.Generator().manual_seed(0))"), "The draws of the floor scatter"),
        (("samples, real),", "samples * 0.999, real),"), "real rows the distance is"),
        (("x.T.cov(), y.T.cov()", "x.T.cov(correction=0), y.T.cov(correction=0)"), "real rows the distance is"),
    ],
)
def test_a_wrong_answer_is_told(edits, words):
    message = build_evaluate(edited(evaluate, *edits)).message
    assert "Not yet" in message
    assert words in message


def test_eigenvalues_of_nan_are_told_before_they_end_the_kernel():
    root, values = "vectors * values.clamp(min=0).sqrt() @ vectors.T", "eigvalsh(root @ cov_y @ root)"
    edits = root, "cov_x.sqrt()", values, "eigvals(root @ cov_y @ root).real"
    message = build_evaluate(edited(evaluate, *edits)).message
    assert "eigenvalues of NaN or infinity were asked for" in message


def test_a_distance_that_is_off_by_little_is_told_with_digits_that_show_it():
    message = build_evaluate(edited(evaluate, "- 2 * cross", "- 2 * cross + 1e-6")).message
    assert "the distance is 0.225452 where 0.225451 is right" in message


def test_a_list_for_the_floor_is_told_so():
    assert "The floor must be a tensor; got list." in build_evaluate(as_a_list).message


@pytest.mark.parametrize("what", ["samples", "real"])
def test_both_sets_stay_as_they_are(what):
    message = build_evaluate(edited(evaluate, "floor, n =", f"{what} -= {what}.mean(0); floor, n =")).message
    assert f"changes its argument `{what}` in place" in message
