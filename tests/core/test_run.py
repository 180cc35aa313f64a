"""A run on disk: it writes what it promises, can be stopped, killed and resumed, and destroys nothing."""

import csv
import hashlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import ddpm_lesson
from ddpm_lesson import checkpoint
from ddpm_lesson import run as run_module
from ddpm_lesson.checkpoint import CheckpointError
from ddpm_lesson.run import run
from ddpm_lesson.train import TrainConfig, TrainState
from ddpm_lesson.unet import UNet
from tests.states import assert_same_state
from tests.tiny import TINY

KILLS = int(os.environ.get("DDPM_TEST_KILLS", "2"))
WEIGHTS = ["model.safetensors", "settings.json", "training.previous.safetensors", "training.safetensors"]
RUN_FILES = sorted([*WEIGHTS, "loss.csv", "samples"])

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def config(tmp_path_factory) -> TrainConfig:
    """A run of 9 short steps on a folder of 32 small images."""
    folder = tmp_path_factory.mktemp("images")
    pixels = np.random.default_rng(0).integers(0, 256, (32, 8, 8), dtype=np.uint8)
    for i, image in enumerate(pixels):
        Image.fromarray(image).save(folder / f"{i:02d}.png")
    return replace(TINY, data=str(folder), train_steps=9)


@pytest.fixture(scope="module")
def finished(config, tmp_path_factory) -> tuple[TrainState, Path]:
    """A run that was never interrupted, and its folder."""
    folder = tmp_path_factory.mktemp("finished")
    return run(config, folder, "cpu"), folder


def names(folder: Path) -> list[str]:
    return sorted(f.name for f in folder.iterdir() if f.name != ".lock")


def contents(folder: Path) -> dict[str, tuple[str, int]]:
    """Name, checksum and time of every file below ``folder``."""
    files = sorted(f for f in folder.rglob("*") if f.is_file())
    return {str(f): (hashlib.sha256(f.read_bytes()).hexdigest(), f.stat().st_mtime_ns) for f in files}


def saved_step(folder: Path) -> int:
    return int(checkpoint.read_tensors(folder / "training.safetensors")[1]["step"])


def loss_steps(folder: Path) -> list[int]:
    with open(folder / "loss.csv", newline="", encoding="utf-8") as file:
        return [int(row["step"]) for row in csv.DictReader(file)]


# What a run writes


def test_run_writes_what_it_promises(finished):
    state, folder = finished
    assert state.step == saved_step(folder) == 9
    assert names(folder) == RUN_FILES
    assert names(folder / "samples") == ["step_0000009.png"]
    Image.open(folder / "samples" / "step_0000009.png").verify()


def test_run_writes_a_curve_once_there_is_something_to_see(config, finished, tmp_path):
    assert loss_steps(finished[1]) == []
    run(replace(config, train_steps=11, sample_every=2), tmp_path / "new" / "folder", "cpu")
    assert names(tmp_path / "new" / "folder") == sorted([*RUN_FILES, "loss.png"])
    assert loss_steps(tmp_path / "new" / "folder") == [10]
    Image.open(tmp_path / "new" / "folder" / "loss.png").verify()


def test_samples_are_drawn_every_sample_every_steps_and_at_the_end(config, tmp_path):
    run(replace(config, sample_every=2, train_steps=5, sample_steps=None), tmp_path, "cpu")
    assert names(tmp_path / "samples") == ["step_0000002.png", "step_0000004.png", "step_0000005.png"]


def test_checkpoint_of_a_run_is_the_averaged_model(finished):
    state, folder = finished
    loaded, expected = checkpoint.load(folder, "cpu").state_dict(), state.averaged().state_dict()
    assert [name for name in expected if not torch.equal(expected[name], loaded[name])] == []
    assert checkpoint.load_config(folder) == state.config


def test_run_leaves_the_callers_random_state_alone(config, tmp_path):
    before = torch.get_rng_state()
    run(replace(config, train_steps=2, flip=True), tmp_path, "cpu")
    assert torch.equal(torch.get_rng_state(), before)


def test_run_that_cannot_start_leaves_no_folder(config, tmp_path):
    with pytest.raises(ValueError, match="no data set or folder called 'mnits'"):
        run(replace(config, data="mnits"), tmp_path / "new", "cpu")
    assert not (tmp_path / "new").exists()


# Stop and resume


@pytest.mark.parametrize("stop", [1, 5, 8])
def test_resumed_run_equals_uninterrupted_run(config, finished, tmp_path, stop):
    run(replace(config, train_steps=stop), tmp_path, "cpu")
    assert_same_state(run(config, tmp_path, "cpu", resume=True), finished[0])
    last = Path("samples", "step_0000009.png")
    assert (tmp_path / last).read_bytes() == (finished[1] / last).read_bytes()


def test_resume_without_an_earlier_run_starts_one(config, finished, tmp_path):
    assert_same_state(run(config, tmp_path, "cpu", resume=True), finished[0])


def test_resuming_a_finished_run_takes_no_step(config, finished):
    before = {name: checksum for name, (checksum, _) in contents(finished[1]).items()}
    assert_same_state(run(config, finished[1], "cpu", resume=True), finished[0])
    assert {name: checksum for name, (checksum, _) in contents(finished[1]).items()} == before


def test_second_run_in_the_same_folder_is_refused_and_changes_nothing(config, finished):
    before = contents(finished[1])
    with pytest.raises(FileExistsError, match=r"already holds a run or a model \(settings.*\): resume it"):
        run(config, finished[1], "cpu")
    assert contents(finished[1]) == before


def test_run_does_not_overwrite_a_model_that_someone_saved(config, finished, tmp_path):
    checkpoint.save(finished[0].averaged(), tmp_path)
    with pytest.raises(FileExistsError):
        run(replace(config, train_steps=1), tmp_path, "cpu")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"image_size": 9}, "image sides must be divisible by 2"),
        ({"ch_mults": (1, 1, 1, 1, 1), "is_attn": (False,) * 5}, "image sides must be divisible by 16"),
        ({"batch_size": 7, "accumulation_steps": 2}, "batch_size must be a multiple of 2"),
        ({"n_classes": 3}, "n_classes must be left out for images without labels"),
        ({"n_groups": 5}, "5"),
    ],
    ids=str,
)
def test_settings_that_do_not_fit_leave_no_run_behind(config, tmp_path, settings, words):
    with pytest.raises(ValueError, match=words):
        run(replace(config, **settings), tmp_path / "run", "cpu")
    assert not (tmp_path / "run").exists()


def test_resuming_with_another_architecture_is_refused_and_changes_nothing(config, finished):
    before = contents(finished[1])
    with pytest.raises(CheckpointError, match="of another run: n_channels is 8 there and 16 here"):
        run(replace(config, n_channels=16), finished[1], "cpu", resume=True)
    assert contents(finished[1]) == before


def test_loss_curve_continues_without_gap_or_repetition(config, tmp_path):
    for stop in (7, 10, 33):
        run(replace(config, train_steps=stop, save_every=100), tmp_path, "cpu", resume=True)
    assert loss_steps(tmp_path) == [10, 20, 30]


@pytest.mark.parametrize("stops", [[10, 20], [3, 20], [7, 13, 20]])
def test_loss_curve_does_not_depend_on_stops(config, tmp_path, stops):
    for folder, ends in (("one", [20]), ("two", stops)):
        for end in ends:
            run(replace(config, train_steps=end, save_every=100), tmp_path / folder, "cpu", resume=True)
    assert (tmp_path / "one" / "loss.csv").read_text("utf-8") == (tmp_path / "two" / "loss.csv").read_text("utf-8")


def test_points_of_the_curve_after_the_checkpoint_are_dropped(config, tmp_path):
    run(config, tmp_path, "cpu")
    with open(tmp_path / "loss.csv", "a", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([(5, 0.6), (10, 0.5), (20, 0.4)])
    run(replace(config, train_steps=11), tmp_path, "cpu", resume=True)
    assert loss_steps(tmp_path) == [5, 10]


def test_kill_between_checkpoint_and_curve_leaves_no_gap(config, tmp_path, monkeypatch):
    config = replace(config, train_steps=10, save_every=10)
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "save_training", kill_after(checkpoint.save_training))
        with pytest.raises(KeyboardInterrupt):
            run(config, tmp_path, "cpu")
    run(replace(config, train_steps=20), tmp_path, "cpu", resume=True)
    assert loss_steps(tmp_path) == [10, 20]


def kill_after(function):
    def call_and_die(*args, **kwargs):
        function(*args, **kwargs)
        raise KeyboardInterrupt

    return call_and_die


@pytest.mark.parametrize("rest", ["", "st", "step,loss\n5", "step,loss\n5,"])
def test_half_written_curve_does_not_stop_a_resume(config, finished, tmp_path, rest):
    shutil.copytree(finished[1], tmp_path, dirs_exist_ok=True)
    (tmp_path / "loss.csv").write_text(rest, encoding="utf-8")
    assert run(replace(config, train_steps=10), tmp_path, "cpu", resume=True).step == 10


def test_resume_draws_the_last_samples_that_a_kill_prevented(config, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(run_module, "write_grid", kill_after(lambda *_: None))
        with pytest.raises(KeyboardInterrupt):
            run(config, tmp_path, "cpu")
    run(config, tmp_path, "cpu", resume=True)
    assert names(tmp_path / "samples") == ["step_0000009.png"]


# A loss that is no number


def test_loss_that_is_no_number_ends_the_run_and_keeps_the_checkpoint(config, tmp_path):
    run(replace(config, train_steps=5), tmp_path, "cpu")
    before = contents(tmp_path)
    with pytest.raises(FloatingPointError, match=r"loss (nan|inf).* at step 10.*lower lr"):
        run(replace(config, train_steps=40, save_every=10, lr=1e20), tmp_path, "cpu", resume=True)
    assert contents(tmp_path) == before


def test_run_that_blew_up_can_be_resumed_with_a_lower_learning_rate(config, finished, tmp_path):
    run(replace(config, train_steps=5), tmp_path, "cpu")
    with pytest.raises(FloatingPointError):
        run(replace(config, train_steps=40, save_every=10, lr=1e20), tmp_path, "cpu", resume=True)
    assert_same_state(run(config, tmp_path, "cpu", resume=True), finished[0])


@pytest.mark.parametrize(("save_every", "train_steps"), [(8, 40), (100, 9)])
def test_checkpoint_is_never_saved_after_the_loss_blew_up(config, tmp_path, save_every, train_steps):
    run(replace(config, train_steps=5), tmp_path, "cpu")
    with pytest.raises(FloatingPointError):
        run(replace(config, train_steps=train_steps, save_every=save_every, lr=1e20), tmp_path, "cpu", resume=True)
    tensors, _ = checkpoint.read_tensors(tmp_path / "training.safetensors")
    assert all(tensor.isfinite().all() for tensor in tensors.values())


# What goes wrong beside the training


def no_room(*_, **__):
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("place", ["grid_image", "loss_curve", "reverse_steps"])
def test_picture_that_cannot_be_drawn_is_said_and_ends_nothing(config, tmp_path, monkeypatch, capsys, place):
    monkeypatch.setattr(run_module, place, no_room)
    assert run(replace(config, train_steps=11, sample_every=2), tmp_path, "cpu").step == saved_step(tmp_path) == 11
    assert re.search(r"training goes on, but .*: .*No space left", capsys.readouterr().out)


def test_checkpoint_that_cannot_be_saved_is_tried_again(config, tmp_path, monkeypatch, capsys):
    save, tried = checkpoint.save_training, []

    def save_but_once(state, *args, **kwargs):
        tried.append(state.step)
        if tried == [0, 4]:
            raise CheckpointError("no room")
        save(state, *args, **kwargs)

    monkeypatch.setattr(checkpoint, "save_training", save_but_once)
    run(config, tmp_path, "cpu")
    assert (tried, saved_step(tmp_path)) == ([0, 4, 8, 9], 9)
    assert "training goes on, and step 4 is not saved: no room" in capsys.readouterr().out


def test_run_that_cannot_be_saved_at_its_end_says_so(config, tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint.disk, "write_safely", no_room)
    with pytest.raises(CheckpointError, match=r"could not save .*No space left"):
        run(config, tmp_path, "cpu")


def test_folder_that_vanishes_is_made_anew(config, tmp_path, monkeypatch):
    train = run_module.train

    def vanish(state, dataset):
        for step in train(state, dataset):
            if step.step == 5:
                shutil.rmtree(tmp_path / "run")
            yield step

    monkeypatch.setattr(run_module, "train", vanish)
    run(config, tmp_path / "run", "cpu")
    assert saved_step(tmp_path / "run") == checkpoint.read_settings(tmp_path / "run")["step"] == 9


def test_moved_run_goes_on(config, finished, tmp_path):
    run(replace(config, train_steps=5), tmp_path / "here", "cpu")
    (tmp_path / "here").rename(tmp_path / "there")
    assert_same_state(run(config, tmp_path / "there", "cpu", resume=True), finished[0])


def test_damaged_checkpoint_is_passed_over_and_the_run_says_so(config, finished, tmp_path, capsys):
    run(config, tmp_path, "cpu")
    (tmp_path / "training.safetensors").write_bytes(b"")
    assert_same_state(run(config, tmp_path, "cpu", resume=True), finished[0])
    assert "going back to step 8, from training.previous.safetensors, because: cannot read" in capsys.readouterr().out


def test_second_run_on_a_folder_is_refused_in_a_sentence(config, tmp_path):
    with checkpoint.locked(tmp_path), pytest.raises(CheckpointError, match="in use by another run"):
        run(config, tmp_path, "cpu")
    assert names(tmp_path) == []


def test_network_that_does_not_compile_trains_as_it_is(config, finished, tmp_path, monkeypatch, capsys):
    def half_a_file(*_):
        raise OSError("kernel.so: file too short")

    monkeypatch.setattr(UNet, "compile", lambda model: setattr(model, "_compiled_call_impl", half_a_file))
    assert_same_state(run(replace(config, compiled=True), tmp_path, "cpu"), finished[0])
    assert "but not compiled (kernel.so: file too short)" in capsys.readouterr().out


# Signals


def raise_signals_at(monkeypatch, at_step: int, *numbers: int) -> None:
    """Let training send itself signals at a step."""
    train = run_module.train

    def train_with_signals(state, dataset):
        for step in train(state, dataset):
            if step.step == at_step:
                for number in numbers:
                    signal.raise_signal(number)
            yield step

    monkeypatch.setattr(run_module, "train", train_with_signals)


def handlers() -> list:
    return [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signal_saves_at_that_step_and_returns(config, finished, tmp_path, monkeypatch, capsys, number):
    with monkeypatch.context() as patch:
        raise_signals_at(patch, 5, number)
        state = run(config, tmp_path, "cpu")
    assert (state.step, saved_step(tmp_path)) == (5, 5)
    assert "stopped at step 5" in capsys.readouterr().out
    assert_same_state(run(config, tmp_path, "cpu", resume=True), finished[0])


def test_second_signal_interrupts_at_once(config, tmp_path, monkeypatch):
    raise_signals_at(monkeypatch, 5, signal.SIGINT, signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        run(config, tmp_path, "cpu")
    assert saved_step(tmp_path) == 4


def test_signal_while_samples_are_drawn_stops_the_run(config, finished, tmp_path, monkeypatch):
    reverse_steps = run_module.reverse_steps

    def reverse_steps_with_signal(*args):
        for i, step in enumerate(reverse_steps(*args)):
            if i == 2:
                signal.raise_signal(signal.SIGINT)
            yield step

    with monkeypatch.context() as patch:
        patch.setattr(run_module, "reverse_steps", reverse_steps_with_signal)
        state = run(replace(config, sample_every=2), tmp_path, "cpu")
    assert state.step == saved_step(tmp_path) < 5
    assert not (tmp_path / "samples").exists()
    assert_same_state(run(config, tmp_path, "cpu", resume=True), finished[0])


def test_signal_handlers_are_put_back(config, tmp_path, monkeypatch):
    before = handlers()
    run(replace(config, train_steps=1), tmp_path / "ends", "cpu")
    assert handlers() == before
    raise_signals_at(monkeypatch, 1, signal.SIGINT, signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        run(config, tmp_path / "is interrupted", "cpu")
    assert handlers() == before


def test_run_works_outside_the_main_thread(config, finished, tmp_path):
    states, before = [], handlers()
    thread = threading.Thread(target=lambda: states.append(run(config, tmp_path, "cpu")))
    thread.start()
    thread.join()
    assert_same_state(states[0], finished[0])
    assert handlers() == before


# Runs in a process of their own

SCRIPT = """
import json, sys
from ddpm_lesson.run import run
from ddpm_lesson.train import TrainConfig

state = run(TrainConfig(**json.loads(sys.argv[1])), sys.argv[2], "cpu", resume=True)
print("returned at step", state.step)
"""


def start_process(config: TrainConfig, folder: Path) -> subprocess.Popen:
    paths = [str(Path(ddpm_lesson.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths)), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", SCRIPT, json.dumps(asdict(config)), str(folder)]
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8"
    )


def wait_for_step(process: subprocess.Popen, folder: Path, step: int) -> None:
    """Return once the run has saved that step."""
    while not (folder / "settings.json").exists() or checkpoint.read_settings(folder)["step"] < step:
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.02)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no SIGKILL")
def test_killed_run_equals_uninterrupted_run(config, tmp_path):
    config = replace(config, train_steps=200, save_every=1)  # most of the time is spent saving
    for _ in range(KILLS):
        process = start_process(config, tmp_path)
        wait_for_step(process, tmp_path, (saved_step(tmp_path) if names(tmp_path) else 0) + 3)
        time.sleep(random.uniform(0, 0.1))
        process.kill()
        process.communicate()
        assert process.returncode == -signal.SIGKILL
    config = replace(config, train_steps=saved_step(tmp_path) + 5)
    resumed = run(config, tmp_path, "cpu", resume=True)
    assert_same_state(resumed, run(replace(config, save_every=1000), tmp_path / "uninterrupted", "cpu"))
    assert list(tmp_path.rglob("*.unfinished")) == []


@pytest.mark.slow
def test_ctrl_c_ends_the_process_in_good_order(config, tmp_path):
    process = start_process(replace(config, train_steps=10**6), tmp_path)
    wait_for_step(process, tmp_path, 4)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate()
    assert process.returncode == 0, output
    assert f"returned at step {saved_step(tmp_path)}\n" in output
    assert checkpoint.read_settings(tmp_path)["step"] == saved_step(tmp_path)
