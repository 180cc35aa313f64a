"""A run to watch stops anywhere, goes on from its checkpoint, and fits its budget."""

import threading
from collections import Counter
from dataclasses import replace

import pytest
import torch

from ddpm_lesson import PRESETS, checkpoint, load_images
from ddpm_lesson.lesson.kit.live import BUDGETS, HISTORY, LEAST_STEPS, LiveRun, looks_in_steps, within_budget
from ddpm_lesson.train import TrainConfig, TrainState, train
from tests.tiny import TINY

pytestmark = pytest.mark.usefixtures("one_thread")


def test_full_budget_is_the_preset():
    assert within_budget(PRESETS["mnist"], "full", 100.0) == PRESETS["mnist"]


@pytest.mark.parametrize("budget", ["quick", "coffee"])
def test_budget_is_kept_and_warm_up_and_cool_down_shrink_with_it(budget):
    whole = PRESETS["mnist"]
    short = within_budget(whole, budget, 0.1)
    assert short.train_steps * 0.1 == pytest.approx(BUDGETS[budget])
    assert short.cooldown_steps / short.train_steps == pytest.approx(whole.cooldown_steps / whole.train_steps, abs=0.01)
    assert within_budget(whole, budget, 1e-9).train_steps == whole.train_steps
    assert within_budget(whole, budget, 1e9).train_steps == LEAST_STEPS


def test_unknown_budget_is_refused():
    with pytest.raises(ValueError, match=r"budget must be one of quick, coffee, full; got 'tea'"):
        within_budget(PRESETS["mnist"], "tea", 1.0)


def weights(run):
    return [p.detach().clone() for p in run.state.ema.parameters()]


def test_stopped_run_goes_on_to_the_same_weights(tmp_path):
    whole = LiveRun(TINY, tmp_path / "whole", "cpu", n_samples=2)
    for _ in whole.go():
        pass
    stop = threading.Event()
    stop.set()
    first = LiveRun(TINY, tmp_path / "parts", "cpu", n_samples=2)
    for _ in first.go(stop):
        pass
    assert first.state.step == 1
    assert not first.finished
    second = LiveRun(TINY, tmp_path / "parts", "cpu", n_samples=2)
    assert second.state.step == 1
    for _ in second.go():
        pass
    assert second.finished
    assert all(torch.equal(a, b) for a, b in zip(weights(whole), weights(second), strict=True))


def test_history_survives_on_disk_and_samples_come_from_the_same_noise(tmp_path):
    run = LiveRun(TINY, tmp_path, "cpu", n_samples=2)
    for history in run.go(every_seconds=0.0):
        assert history.steps[-1] == run.state.step
    again = LiveRun(TINY, tmp_path, "cpu", n_samples=2)
    assert again.finished
    assert again.history.steps == list(range(1, 13))
    assert again.history.probe_steps == [0, 10, 12]
    assert len(again.history.samples) == len(again.history.probes) == 3
    assert again.history.samples[0].shape == (2, 1, 8, 8)
    assert list(again.go()) == []


def test_time_left_follows_from_the_speed(tmp_path):
    run = LiveRun(TINY, tmp_path, "cpu", n_samples=2)
    assert run.seconds_left is None
    next(run.go(every_seconds=0.0))
    assert run.seconds_left == pytest.approx(11 * TINY.batch_size / run.rate)


def test_run_stops_at_the_very_step_it_is_told(tmp_path):
    run = LiveRun(TINY, tmp_path, "cpu", n_samples=2)
    for stop_at in (5, 7):
        list(run.go(stop_at=stop_at))
        assert run.state.step == stop_at
        assert LiveRun(TINY, tmp_path, "cpu", n_samples=2).state.step == stop_at
    assert list(run.go(stop_at=7)) == []


def test_checkpoints_are_written_however_seldom_it_reports(tmp_path, monkeypatch):
    run, saved = LiveRun(TINY, tmp_path, "cpu", n_samples=2), []
    monkeypatch.setattr(run, "save", lambda: saved.append(run.state.step))
    list(run.go(every_seconds=1e9))
    assert saved == [4, 8, 12]


def spoilt(history, how):
    if how == "missing":
        history.unlink()
    elif how == "empty":
        history.write_bytes(b"")
    elif how == "cut":
        history.write_bytes(history.read_bytes()[:100])
    elif how == "flipped":
        contents = bytearray(history.read_bytes())
        contents[-1] ^= 1
        history.write_bytes(contents)
    else:
        history.write_bytes(checkpoint.tensor_bytes({"other": torch.ones(1)}))


@pytest.mark.parametrize("how", ["missing", "empty", "cut", "flipped", "foreign"])
def test_good_checkpoint_goes_on_without_its_history(tmp_path, how):
    run = LiveRun(TINY, tmp_path, "cpu", n_samples=2)
    list(run.go(stop_at=5))
    spoilt(tmp_path / HISTORY, how)
    again = LiveRun(TINY, tmp_path, "cpu", n_samples=2)
    assert again.state.step == 5
    assert again.history.probe_steps == [5]
    list(again.go())
    assert again.finished


def test_run_of_the_terminal_can_be_watched(tmp_path):
    dataset = load_images("digits")
    state = TrainState(TINY, dataset.shape, "cpu")
    next(train(state, dataset))
    checkpoint.save_training(state, tmp_path)
    run = LiveRun(TINY, tmp_path, "cpu", n_samples=2)
    assert run.state.step == run.history.probe_steps[0] == 1


def test_history_is_written_whole(tmp_path):
    LiveRun(TINY, tmp_path, "cpu", n_samples=2).save()
    assert (tmp_path / HISTORY).is_file()
    assert not list(tmp_path.glob("*.unfinished"))


@pytest.mark.parametrize("stop_at", [6, None])
def test_spoilt_weights_are_never_saved_over_good_ones(tmp_path, stop_at):
    run = LiveRun(TINY, tmp_path, "cpu", n_samples=2)
    list(run.go(stop_at=5))
    with torch.no_grad():
        run.state.diffusion.eps_model.image_proj.bias.fill_(torch.nan)
    with pytest.raises(FloatingPointError, match=r"loss nan and gradient norm nan at step \d+: .* a lower lr"):
        list(run.go(stop_at=stop_at))
    again = LiveRun(TINY, tmp_path, "cpu", n_samples=2)
    assert again.state.step == 5
    assert all(w.isfinite().all() for w in weights(again))


def test_looks_are_counted_as_many_as_there_are(tmp_path, monkeypatch):
    looks = Counter()
    monkeypatch.setattr(
        LiveRun, "look", lambda run: (looks.update(["look"]), run.history.samples.append(torch.zeros(1)))
    )
    config = replace(TINY, train_steps=33)
    run = LiveRun(config, tmp_path, "cpu")
    list(run.go())
    images = looks["look"] * (16 * 20 + 64)  # seen by the network, forward only
    assert looks_in_steps(config) == pytest.approx(images / (3 * config.batch_size))


def test_settings_of_a_run_that_goes_on_are_its_own(tmp_path):
    run = LiveRun(TINY, tmp_path, "cpu", n_samples=2)
    run.save()
    other: TrainConfig = replace(TINY, train_steps=99)
    assert LiveRun(other, tmp_path, "cpu", n_samples=2).config.train_steps == TINY.train_steps


def test_folder_of_other_data_is_refused(tmp_path):
    LiveRun(TINY, tmp_path, "cpu", n_samples=2).save()
    with pytest.raises(ValueError, match=r"folder must hold a run on 'mnist' or none; .* is of 'digits'"):
        LiveRun(PRESETS["mnist"], tmp_path, "cpu")


def test_history_ends_where_the_checkpoint_stands(tmp_path):
    run = LiveRun(TINY, tmp_path, "cpu", n_samples=2)
    for stop_at in (3, 11):
        list(run.go(every_seconds=0.0, stop_at=stop_at))
    (tmp_path / checkpoint.TRAINING).write_bytes(b"")
    again = LiveRun(TINY, tmp_path, "cpu", n_samples=2)
    assert again.state.step == 8
    assert again.history.steps == list(range(1, 9))
    assert len(again.history.losses) == 8
    assert len(again.history.samples) == len(again.history.probes) == len(again.history.probe_steps) == 1
    list(again.go())
    assert checkpoint.open_run(tmp_path).step == 12


def test_folder_is_locked_while_it_trains_and_free_when_left(tmp_path):
    run = LiveRun(TINY, tmp_path, "cpu", n_samples=2)
    other = LiveRun(TINY, tmp_path, "cpu", n_samples=2)
    steps = run.go(every_seconds=0.0)
    next(steps)
    with pytest.raises(checkpoint.CheckpointError, match="in use by another run"):
        next(other.go())
    steps.close()
    assert next(other.go(every_seconds=0.0)).steps == [1]


def test_run_that_went_on_elsewhere_is_not_set_back(tmp_path):
    LiveRun(TINY, tmp_path, "cpu", n_samples=2).save()
    here, elsewhere = (LiveRun(TINY, tmp_path, "cpu", n_samples=2) for _ in range(2))
    list(elsewhere.go(stop_at=5))
    with pytest.raises(checkpoint.CheckpointError, match="has gone on elsewhere, to step 5; open it anew"):
        next(here.go())
    assert checkpoint.open_run(tmp_path).step == 5
