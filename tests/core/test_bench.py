"""The benchmark beside the peers measures what it says, with networks that are the same where it says so."""

import sys
import time
from dataclasses import replace

import pytest
import torch
from click.testing import CliRunner

from ddpm_lesson.exchange import LABML
from tests.benchmarks import bench

pytestmark = pytest.mark.usefixtures("one_thread")
CPU = torch.device("cpu")
TOY = {"ch_mults": (1, 2), "is_attn": (False, True), "n_blocks": 1, "batch_size": 2, "train_steps": bench.ENDLESS}
SMALL = {name: replace(contest, config=replace(contest.config, **TOY)) for name, contest in bench.CONTESTS.items()}


def weights(side):
    return sum(p.numel() for p in side.network.parameters())


@pytest.mark.parametrize("name", ["diffusers", "labml"])
@pytest.mark.parametrize("precision", ["no", "bf16"])
def test_sides_train_and_draw_with_networks_of_one_size(name, precision):
    pytest.importorskip(SMALL[name].package[0])
    sides = [bench.make_side(SMALL[name], who, precision, CPU) for who in ("ours", "theirs")]
    assert weights(sides[0]) == weights(sides[1])
    for side in sides:
        before = [p.detach().clone() for p in side.network.parameters()]
        for _ in range(2):
            side.train()
        side.sample()
        moved = [not torch.equal(a, b) for a, b in zip(before, side.network.parameters(), strict=True)]
        assert sum(moved) > len(moved) / 4  # silent layers of a new network let no gradient through


def test_ours_has_the_choices_of_the_peer():
    side = bench.ours(SMALL["labml"].config, CPU, "no", LABML)
    assert side.network.settings.items() >= LABML.items()


def test_a_contest_becomes_a_row_for_each_precision(monkeypatch):
    monkeypatch.setattr(bench, "peak_memory", lambda name, who, *_: 3e6 if who == "ours" else 4e6)
    monkeypatch.setattr(bench, "settle_precision", lambda *_: "bf16")
    result = bench.hold("diffusers", SMALL["diffusers"], CPU, 1)
    for part in ("train", "sample"):
        result[part] = {(w, p): [2.0 if w == "theirs" else 0.5 if p == "bf16" else 1.0] for w, p in result["sides"]}
    rows = {row[4]: row[5:] for row in bench.rows_of(result)}
    assert rows == {
        "as they come": ["1", "4.00 x", "1", "4.00 x", "0.75 x"],
        "float32": ["1", "2.00 x", "1", "2.00 x", "0.75 x"],
        "bf16": ["1", "4.00 x", "1", "4.00 x", "0.75 x"],
    }


def test_calls_take_turns_and_the_first_does_not_count():
    order = []
    times = bench.in_turns({name: lambda name=name: order.append(name) for name in "abc"}, CPU, 3)
    assert {name: len(found) for name, found in times.items()} == {"a": 3, "b": 3, "c": 3}
    assert "".join(order) == "abccbaabccba"


def test_speed_is_the_median_over_rounds():
    assert bench.speedup({"one": [1.0, 1.0, 5.0], "other": [2.0, 4.0, 15.0]}, "one", "other") == 3.0
    assert bench.seconds(lambda: time.sleep(0.02), CPU) >= 0.02


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the peak of a process is read as Linux tells it")
def test_memory_is_that_of_the_activations_and_more():
    found = bench.peak_memory("diffusers", "ours", "no", CPU)
    parameters = 4 * weights(bench.ours(bench.CONTESTS["diffusers"].config, CPU, "no", {}))
    assert 5 * parameters < found < 4e9


def test_a_peer_that_is_not_installed_is_one_sentence(monkeypatch, tmp_path):
    nobody = replace(bench.CONTESTS["diffusers"], package=("no_such", "no-such"))
    monkeypatch.setitem(bench.CONTESTS, "diffusers", nobody)
    shown = CliRunner().invoke(bench.main, ["--only", "diffusers", "--out", str(tmp_path)])
    assert shown.exit_code == 0
    assert "no-such is not installed and was left out: pip install no-such" in shown.output
    assert list(tmp_path.iterdir()) == []


def test_the_picture_shows_every_row(tmp_path):
    rows = [["diffusers", "", "", "2", "float32", "1", "1.20 x", "3", "0.90 x", "0.8 x"]]
    bench.draw(rows, tmp_path / "speed.png", "here")
    assert (tmp_path / "speed.png").stat().st_size > 5_000


def test_ways_are_timed_beside_float32():
    table = bench.ways_table("digits", CPU, 1, compiled=False)
    assert "| float32 |" in table
    assert "| bf16, channels last |" in table
    assert "compiled" not in table
