"""The board: whose piece stands where, what is seen of one that fails, and that every mixture works together."""

import inspect
import random
import re
from itertools import combinations, product

import pytest
import torch

from ddpm_lesson.lesson.ch13_your_own_ddpm import board as board_module
from ddpm_lesson.lesson.ch13_your_own_ddpm.board import CHECKS, Board
from ddpm_lesson.lesson.ch13_your_own_ddpm.experiments import OwnDdpm, PieceError, Plan
from ddpm_lesson.lesson.kit.pieces import PIECES, definition, keep, kept
from tests.lesson import mutants
from tests.lesson.ch13_your_own_ddpm.others import OTHERS

TINY = Plan(n_steps=20, n_channels=8, n_updates=2, chunk=1)


def lessons(name):
    return definition(CHECKS[name].solution)


def test_every_piece_has_a_check_of_its_own_name_and_others_to_try():
    assert list(CHECKS) == list(PIECES)
    assert set(OTHERS) == set(PIECES)
    assert [check.solution.__name__ for check in CHECKS.values()] == list(PIECES)


def test_empty_board_is_the_lesson_s():
    board = Board()
    assert (board.n_own, board.n_lines) == (0, 0)
    assert board._repr_markdown_().count("the lesson's") == len(PIECES)


@pytest.mark.parametrize("name", PIECES)
def test_what_somebody_else_wrote_is_theirs(name):
    board = Board()
    row = board.put(name, OTHERS[name])
    assert row.in_use, row.problem
    assert board.n_own == 1
    assert "**1 of 11 pieces are yours**" in board._repr_markdown_()
    assert board.leave(name).n_own == 0


def covering(n, seed=0):
    """Rows of True and False in which each two of n columns have all four pairs."""
    generator, rows = random.Random(seed), []
    missing = {(i, j, a, b) for i, j in combinations(range(n), 2) for a, b in product((False, True), repeat=2)}
    while missing:
        tried = [tuple(generator.random() < 0.5 for _ in range(n)) for _ in range(50)]
        pairs = {row: {(i, j, row[i], row[j]) for i, j in combinations(range(n), 2)} & missing for row in tried}
        best = max(tried, key=lambda row: len(pairs[row]))
        missing -= pairs[best]
        rows.append(best)
    return rows


@pytest.mark.parametrize("own", [(True,) * 11, *covering(11)], ids=lambda own: "".join("ol"[not one] for one in own))
def test_pieces_work_in_every_mixture(own):
    """Own ones and the lesson's, each pair of pieces in all four ways."""
    board = Board()
    board.problem = lambda name: ""  # each alone is checked elsewhere
    for name in (name for name, mine in zip(PIECES, own, strict=True) if mine):
        board.put(name, OTHERS[name])
    assert board.n_own == sum(own)
    ddpm = OwnDdpm(board, (1, 8, 8), TINY)
    images = torch.rand(40, 1, 8, 8) * 2 - 1
    assert list(ddpm.train(images)) == [1, 2]
    assert ddpm.loss(images) > 0
    for samples in (ddpm.draw(40, 3), ddpm.draw(2, 3, eta=1.0), ddpm.draw_by_posterior(2)):
        assert samples.shape[1:] == (1, 8, 8)
        assert samples.isfinite().all()
    distance, floor = ddpm.pieces.evaluate(torch.randn(30, 4), torch.randn(90, 4), 3)
    assert floor.shape == (3,)
    assert distance > 0


def wrong_ones(name, wanted=3):
    """Slips in the source of a piece that its check refuses."""
    solution = CHECKS[name].solution
    tree = mutants.solution_tree(solution)
    found = []
    for slip, mutant in mutants.edits(solution):
        source = lessons(name).replace(*slip.split(" -> "), 1)
        if source != lessons(name) and not CHECKS[name].judge(mutant).passed:
            found.append(source)
        if len(found) == wanted:
            return found
    raise AssertionError(f"{name}: {len(found)} of {wanted} wrong ones found in {tree.name}")


@pytest.mark.slow
@pytest.mark.parametrize("name", PIECES)
def test_wrong_piece_is_named_with_what_was_seen_and_where_to_go(name):
    for source in wrong_ones(name):
        board = Board({name: source})
        assert board.n_own == 0
        row = next(line for line in board._repr_markdown_().splitlines() if line.startswith(f"| `{name}("))
        assert re.search(r"yours does not pass: \*\*(Not yet|It does not run)\.\*\* .{15,}", row), row
        assert f"Back to [{PIECES[name].notebook[:2]}]" in row
        assert len(re.findall(r"(?<!\\)\|", row)) == 4
        OwnDdpm(board, (1, 8, 8), TINY)  # the lesson's stands in


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("def schedule(n_steps):\n    return torch.ones(n_steps)\n", "takes 1 positional argument"),
        ("def other():\n    pass\n", "it defines no schedule"),
        ("def schedule(:\n", "SyntaxError"),
        ("def schedule(n_steps, first, last):\n    return unknown\n", "'unknown' is not defined"),
        ("def schedule(n_steps, first, last):\n    while True:\n        pass\n", "it took more than 1 seconds"),
        ("class schedule:\n    def f(self):\n        return self\n", "must be a function"),
        ("schedule = 3\n", "must be a function"),
        ("raise SystemExit\n", "It does not run"),
        ("def schedule(n_steps, first, last):\n    pass\n", "It holds nothing"),
        ("\n", "it defines no schedule"),
    ],
)
def test_whatever_stands_in_the_file_is_answered(source, words, monkeypatch):
    monkeypatch.setattr(board_module, "PATIENCE", 1)
    row = Board({"schedule": source}).rows["schedule"]
    assert words in row.problem
    assert not row.in_use


def test_piece_of_another_name_is_refused():
    with pytest.raises(ValueError, match=r"name must be one of schedule, q_sample, .*; got 'unet'"):
        Board().put("unet", "unet = 1")


def test_piece_that_fails_only_in_the_whole_is_named():
    board = Board()
    board.problem = lambda name: ""
    board.put("fit", "def fit(eps_model, images, alpha_bar, n_updates, state):\n    return images[10_000]\n")
    ddpm = OwnDdpm(board, (1, 8, 8), TINY)
    with pytest.raises(PieceError, match=r"fit stopped with IndexError: .*[^.]\. It was written in 10_training"):
        list(ddpm.train(torch.zeros(4, 1, 8, 8)))
    board.put("fit", "def fit(*_):\n    raise ZeroDivisionError\n")
    with pytest.raises(PieceError, match=r"fit stopped with ZeroDivisionError: no reason given\. It was written"):
        list(OwnDdpm(board, (1, 8, 8), TINY).train(torch.zeros(4, 1, 8, 8)))


def test_a_first_chunk_that_was_stopped_begins_again_from_the_first_weights():
    images, plan = torch.rand(40, 1, 8, 8) * 2 - 1, TINY._replace(n_updates=3, chunk=3)
    whole, stopped = (OwnDdpm(Board(), (1, 8, 8), plan) for _ in range(2))
    list(whole.train(images))
    fit = stopped.pieces.fit

    def interrupted(eps_model, images, alpha_bar, n_updates, state):
        fit(eps_model, images, alpha_bar, 2, state)
        raise KeyboardInterrupt

    stopped.pieces.fit = interrupted
    with pytest.raises(KeyboardInterrupt):
        list(stopped.train(images))
    stopped.pieces.fit = fit
    list(stopped.train(images))
    for one, other in zip(whole.net.parameters(), stopped.net.parameters(), strict=True):
        assert torch.equal(one, other)


def test_what_the_plan_and_the_measure_need_is_said():
    with pytest.raises(ValueError, match=r"image sides must be divisible by 2 for \(1, 2\); got \(1, 7, 7\)"):
        OwnDdpm(Board(), (1, 7, 7), TINY)
    own = OwnDdpm(Board(), (1, 8, 8), TINY)
    with pytest.raises(ValueError, match=r"real must hold at least 2 images more than samples, .* so 42; got 41"):
        own.measure(torch.zeros(40, 1, 8, 8), torch.zeros(41, 1, 8, 8))


def test_a_row_shows_itself_as_the_board_shows_it():
    board = Board()
    row = board.put("q_sample", OTHERS["q_sample"])
    assert row._repr_markdown_().splitlines()[-1] in board._repr_markdown_().splitlines()
    assert PIECES["q_sample"].signature in row._repr_markdown_()
    assert (repr(row), repr(board.rows["fit"])) == ("Row(q_sample, the learner's)", "Row(fit, the lesson's)")


def test_file_is_read_as_it_was_kept(tmp_path):
    file = tmp_path / "my_ddpm.py"
    assert kept(file) == {}
    for name in ("sample", "schedule", "sample"):
        keep(name, OTHERS[name], file)
    assert list(kept(file)) == ["sample", "schedule"]
    assert kept(file)["sample"].strip() == OTHERS["sample"].strip()
    assert Board.read(str(file)).n_own == 2
    file.write_text("import os\n" + file.read_text(encoding="utf-8") + "\n# --- unknown\nx = 1\n", encoding="utf-8-sig")
    keep("fit", OTHERS["fit"], file)
    assert list(kept(file)) == ["sample", "schedule", "fit"]
    assert file.read_text(encoding="utf-8").startswith("import os\n")
    assert "# --- unknown\nx = 1\n" in file.read_text(encoding="utf-8")
    file.write_bytes("# --- schedule\nç".encode("latin-1"))
    assert "SyntaxError" in Board.read(str(file)).rows["schedule"].problem


def test_forced_piece_is_used_as_it_is():
    board = Board().force("q_sample", "def q_sample(x0, t, eps, alpha_bar):\n    return 7\n")
    assert board.pieces().q_sample(0, 0, 0, 0) == 7


@pytest.mark.parametrize(
    "use", [lambda b: b.leave("schedul"), lambda b: b.force("unet", ""), lambda b: b.mine(covering)]
)
def test_names_that_no_piece_has_are_refused(use):
    with pytest.raises(ValueError, match=r"name must be one of schedule"):
        use(Board())


@pytest.mark.parametrize("thing", ["schedule", torch.ones(2)])
def test_what_is_no_function_is_refused(thing):
    with pytest.raises(ValueError, match=r"built must be functions or classes, without quotes or parentheses"):
        Board().mine(thing)


def decorated():
    """An earlier attempt."""


@torch.no_grad()
def decorated():  # noqa: F811
    """The one that counts."""


def test_definition_is_that_of_the_name_alone():
    assert definition(covering) == inspect.getsource(covering).rstrip()
    assert definition(decorated).startswith("@torch.no_grad()\ndef decorated")
    space = {}
    exec("def new():\n    pass", space)
    with pytest.raises(ValueError, match=r"the source of new was not found"):
        definition(space["new"])
