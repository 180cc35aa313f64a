"""The exercises of notebook 13: held to what the board and the pieces themselves say; what is wrong is refused."""

import re
import statistics

import pytest
import torch

from ddpm_lesson import load_images
from ddpm_lesson.lesson.ch13_your_own_ddpm import experiments
from ddpm_lesson.lesson.ch13_your_own_ddpm.board import Board
from ddpm_lesson.lesson.ch13_your_own_ddpm.builds import check_watched, watched
from ddpm_lesson.lesson.ch13_your_own_ddpm.exercises import check_deviations, check_turned_ends, deviations, turned_ends
from ddpm_lesson.lesson.ch13_your_own_ddpm.experiments import SMALL, OwnDdpm, readings, who_is_asked
from ddpm_lesson.lesson.kit.pieces import PIECES

UNSEEN = {"q_sample", "simple_loss", "posterior", "evaluate"}
TURNED = """

right = schedule


def schedule(n_steps, first, last):
    return right(n_steps, first, last).flip(0)
"""


def test_the_board_complains_of_the_number_that_was_foretold():
    board = Board()
    row = board.put("schedule", board.rows["schedule"].source + TURNED)
    complaint = r"For (\d+) steps the first alpha_bar .* is ([\d.]+); asked for: ([\d.]+)\."
    n_steps, seen, wanted = re.search(complaint, row.problem).groups()
    first, last = turned_ends(Board().pieces().schedule(int(n_steps), float(wanted), 0.01))
    assert float(seen) == pytest.approx(float(first), rel=1e-5)
    assert float(last) == pytest.approx(0.01)


def test_ends_of_a_turned_chain_by_walking_it():
    def walked(beta):
        bars, left = [], 1.0
        for b in reversed(beta.tolist()):
            left *= 1 - b
            bars.append(left)
        return bars[0], bars[-1]

    assert check_turned_ends(walked).passed
    assert check_turned_ends(lambda beta: tuple((1 - beta.flip(0)).cumprod(0)[[0, -1]])).passed


def test_deviations_by_the_library_of_statistics():
    for healthy, sick in check_deviations.cases:
        values = healthy.tolist()
        wanted = (sick - statistics.mean(values)) / statistics.stdev(values)
        assert float(deviations(healthy, sick)) == pytest.approx(wanted)


def made_early(name, piece, called):
    called.add(name)
    return piece


def without_an_answer(name, piece, called):
    def ask(*arguments, **named):
        called.add(name)
        piece(*arguments, **named)

    return ask


def by_place_only(name, piece, called):
    def ask(*arguments):
        called.add(name)
        return piece(*arguments)

    return ask


def notes_the_piece(name, piece, called):
    def ask(*arguments, **named):
        called.add(piece)
        return piece(*arguments, **named)

    return ask


def notes_elsewhere(name, piece, called):
    called = set(called)

    def ask(*arguments, **named):
        called.add(name)
        return piece(*arguments, **named)

    return ask


def forgets_the_others(name, piece, called):
    def ask(*arguments, **named):
        called.clear()
        called.add(name)
        return piece(*arguments, **named)

    return ask


def asks_at_once(name, piece, called):
    called.add(name)
    return piece()


def notes_too_late(name, piece, called):
    def ask(*arguments, **named):
        answer = piece(*arguments, **named)
        called.add(name)
        return answer

    return ask


def swallows(name, piece, called):
    def ask(*arguments, **named):
        called.add(name)
        try:
            return piece(*arguments, **named)
        except Exception:
            return None

    return ask


def asks_twice(name, piece, called):
    def ask(*arguments, **named):
        called.add(name)
        piece(*arguments, **named)
        return piece(*arguments, **named)

    return ask


def remembers(name, piece, called):
    answers = {}

    def ask(*arguments, **named):
        called.add(name)
        question = (arguments, tuple(named.items()))
        if question not in answers:
            answers[question] = piece(*arguments, **named)
        return answers[question]

    return ask


def draws(name, piece, called):
    def ask(*arguments, **named):
        called.add(name)
        torch.rand(1)
        return piece(*arguments, **named)

    return ask


def notes_only_with_arguments(name, piece, called):
    def ask(*arguments, **named):
        if arguments or named:
            called.add(name)
        return piece(*arguments, **named)

    return ask


WRONG = {
    made_early: "Nobody has been asked yet, and `called` holds",
    without_an_answer: "gave None where (1, 0.5, 1.0) is right",
    asks_twice: "gave (2, 0.5, 1.0) where (1, 0.5, 1.0) is right",
    remembers: "gave (1, 0.5, 1.0) where (2, 0.5, 1.0) is right",
    draws: "draws random numbers",
    notes_only_with_arguments: "After `sample` and `schedule` were asked, `called` holds ['sample']",
    by_place_only: "stopped with TypeError",
    notes_the_piece: "After `sample` and `schedule` were asked, `called` holds",
    notes_elsewhere: "After `sample` and `schedule` were asked, `called` holds ['sample']",
    forgets_the_others: "After `sample` and `schedule` were asked, `called` holds ['schedule']",
    asks_at_once: "must return a function to ask in the place of the piece; got tuple",
    notes_too_late: "was asked as well: note it before you ask",
    swallows: "kept it to itself",
}


@pytest.mark.parametrize("wrong", WRONG, ids=lambda wrong: wrong.__name__)
def test_wrong_spies_are_answered_with_what_was_seen(wrong):
    result = check_watched(wrong)
    assert not result.passed
    assert WRONG[wrong] in result.message


def test_four_pieces_are_not_asked():
    assert set(PIECES) - who_is_asked(watched) == UNSEEN


@pytest.mark.parametrize("name", sorted(UNSEEN))
def test_a_piece_that_is_not_asked_cannot_be_seen_in_the_drawings(name):
    def drawings(board):
        own = OwnDdpm(board, (1, 8, 8), SMALL)
        list(own.train(torch.zeros(40, 1, 8, 8)))
        return own.draw(3, 5)

    broken = Board().force(name, f"def {name}(*_):\n    raise ZeroDivisionError\n")
    assert torch.equal(drawings(broken), drawings(Board()))


def test_the_rate_stands_once_in_the_lesson_s_fit():
    assert Board().rows["fit"].source.count("2e-3") == 1  # which is replaced in the solution of exercise 13.3


def test_readings_are_a_number_for_every_run(monkeypatch):
    monkeypatch.setattr(experiments, "STANDARD", SMALL)
    digits, test = load_images("digits"), load_images("digits", "test")[:20]
    found = readings(Board(), digits, test, range(2))
    assert {name: values.shape for name, values in found.items()} == {"loss": (2,), "distance": (2,)}
    assert found["loss"][0] != found["loss"][1]
