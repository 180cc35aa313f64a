"""A run in several processes, or in parts of a batch, takes the same steps as a run in one go."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch

import ddpm_lesson
from ddpm_lesson import checkpoint
from ddpm_lesson.data import load_images
from ddpm_lesson.run import run
from ddpm_lesson.runtime import get_device, n_processes, rank
from ddpm_lesson.train import TrainConfig, train
from ddpm_lesson.train.processes import parts_of_batch
from tests.core.test_run import wait_for_step
from tests.tiny import TINY, Float64Images, start_in_float64

pytestmark = pytest.mark.usefixtures("one_thread")

CONFIG = replace(TINY, dropout=0.0, train_steps=40, save_every=10)  # dropout differs from process to process
SCRIPT = """
import json, sys, torch
from ddpm_lesson.run import run
from ddpm_lesson.runtime import rank
from ddpm_lesson.train import TrainConfig

torch.set_num_threads(1)
state = run(TrainConfig(**json.loads(sys.argv[1])), sys.argv[2], "cpu", resume=True)
print("process", rank(), "returned at step", state.step)
"""


def start_two(config: TrainConfig, folder: Path) -> subprocess.Popen:
    script = folder.parent / "train.py"
    script.write_text(SCRIPT, encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(Path(ddpm_lesson.__file__).parents[1]), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", "--standalone"]
    command += [str(script), json.dumps(asdict(config)), str(folder)]
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8"
    )


def losses(folder: Path) -> np.ndarray:
    return np.loadtxt(folder / "loss.csv", delimiter=",", skiprows=1)


@pytest.fixture(scope="module")
def pair(tmp_path_factory) -> tuple[Path, str]:
    """The folder and the words of a run in two processes."""
    folder = tmp_path_factory.mktemp("pair") / "run"
    process = start_two(CONFIG, folder)
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    return folder, output


@pytest.mark.slow
def test_two_processes_have_the_loss_curve_of_one(pair, tmp_path):
    one = run(CONFIG, tmp_path, "cpu")
    np.testing.assert_allclose(losses(pair[0]), losses(tmp_path), rtol=1e-4)
    two = checkpoint.load(pair[0], "cpu").eps_model.state_dict()
    for name, expected in one.ema.module.state_dict().items():
        torch.testing.assert_close(two[name], expected, rtol=1e-2, atol=1e-3)


@pytest.mark.slow
def test_one_of_two_processes_writes_and_draws(pair):
    folder, output = pair
    assert output.count("train digits: 100%") > 0
    assert sorted(f.name for f in (folder / "samples").iterdir()) == ["step_0000040.png"]
    assert all(f"process {i} returned at step 40" in output for i in (0, 1))


@pytest.mark.slow
def test_ctrl_c_stops_both_processes_at_the_same_step(tmp_path):
    folder = tmp_path / "run"
    process = start_two(replace(CONFIG, train_steps=10**6), folder)
    wait_for_step(process, folder, 10)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=300)
    step = checkpoint.read_settings(folder)["step"]
    assert step < 10**6
    assert step % 10 == 0
    assert f"stopped at step {step}" in output
    assert all(f"process {i} returned at step {step}\n" in output for i in (0, 1)), output


def steps_in_float64(parts):
    """What every step of a run says whose batches are cut; Adam would make much of the rounding of float32."""
    state = start_in_float64(replace(CONFIG, train_steps=4, accumulation_steps=parts))
    return list(train(state, Float64Images(load_images("digits").images)))


@pytest.fixture(scope="module")
def whole():
    return steps_in_float64(1)


@pytest.mark.parametrize("parts", [2, 16])
def test_accumulated_gradients_equal_those_of_the_whole_batch(whole, parts):
    for expected, step in zip(whole, steps_in_float64(parts), strict=True):
        torch.testing.assert_close(step.loss, expected.loss, rtol=1e-5, atol=0)  # it is added up in float32
        torch.testing.assert_close(step.grad_norm, expected.grad_norm, rtol=1e-9, atol=0)


@pytest.mark.parametrize(("number", "steps"), [(1, 3), (2, 2), (4, 1)])
def test_processes_share_every_batch_without_overlap(monkeypatch, number, steps):
    monkeypatch.setenv("WORLD_SIZE", str(number))
    visited = []
    for i in range(number):
        monkeypatch.setenv("RANK", str(i))
        assert (rank(), n_processes()) == (i, number)
        for part in parts_of_batch(replace(CONFIG, accumulation_steps=steps), 24):
            visited.extend(range(24)[part])
    assert visited == list(range(24))


def test_batch_that_cannot_be_shared_is_refused(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "3")
    with pytest.raises(ValueError, match="for 3 processes times 2 accumulation steps; got 16"):
        parts_of_batch(replace(CONFIG, accumulation_steps=2), 16)


def test_every_process_takes_a_gpu_of_its_own(monkeypatch):
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert get_device("auto") == get_device("cuda") == torch.device("cuda:1")
    assert get_device("cuda:0") == torch.device("cuda:0")
    assert get_device("cpu") == torch.device("cpu")
