"""Device, seed, budget and Colab: what depends on the machine, tested on any machine."""

import random
import sys
import types

import numpy as np
import pytest
import torch

from ddpm_lesson import runtime
from ddpm_lesson.runtime import assets_folder, budget, describe_machine, get_device, in_colab, seed_everything


@pytest.fixture
def machine(monkeypatch):
    """``machine(cuda=2)`` or ``machine(mps=True)``: make PyTorch report these GPUs."""

    def pretend(cuda=0, mps=False):
        monkeypatch.setattr(torch.cuda, "device_count", lambda: cuda)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda > 0)
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: f"GPU number {index}")
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)

    return pretend


# Device


@pytest.mark.parametrize(
    ("gpus", "best"), [({}, "cpu"), ({"mps": True}, "mps"), ({"cuda": 1}, "cuda"), ({"cuda": 1, "mps": True}, "cuda")]
)
def test_auto_takes_the_best_device_there_is(machine, gpus, best):
    machine(**gpus)
    assert get_device() == get_device("auto") == torch.device(best)


def test_auto_is_a_device_that_works():
    assert torch.ones(2, device=get_device("auto")).sum() == 2


def test_cpu_is_always_there(machine):
    machine()
    assert get_device("cpu") == torch.device("cpu")


@pytest.mark.parametrize("name", ["cuda", "cuda:0", "cuda:1"])
def test_gpu_is_found_by_name(machine, name):
    machine(cuda=2)
    assert get_device(name) == torch.device(name)


def test_a_device_is_taken_as_it_is():
    assert get_device(torch.device("cpu")) == torch.device("cpu")


@pytest.mark.parametrize("name", ["tpu", "gpu", "", "CPU", None])
def test_unknown_device_is_refused(name):
    with pytest.raises(ValueError, match=rf"device must be one of auto, cpu, cuda, mps; got {name!r}"):
        get_device(name)


@pytest.mark.parametrize(
    ("name", "gpus", "reason"),
    [
        ("cuda", {}, "no CUDA GPU"),
        ("cuda:1", {"cuda": 1}, "has 1 CUDA GPU,"),
        ("cuda:5", {"cuda": 2}, "has 2 CUDA GPUs,"),
        ("mps", {}, "no Apple GPU"),
        ("meta", {}, "type 'meta'"),
    ],
)
def test_device_that_is_not_there_is_refused_with_the_reason(machine, name, gpus, reason):
    machine(**gpus)
    with pytest.raises(ValueError, match=rf"device '{name}' is not there: .*{reason}"):
        get_device(name)


# Seed


def draw():
    return random.random(), np.random.rand(), torch.rand(1).item()  # noqa: NPY002 - the generator being seeded


def test_same_seed_gives_the_same_numbers():
    seed_everything(3)
    first = draw()
    seed_everything(3)
    assert draw() == first


def test_another_seed_gives_other_numbers():
    seed_everything(3)
    first = draw()
    seed_everything(4)
    assert not set(first) & set(draw())


# Budget


def test_budget_is_quick_unless_asked(monkeypatch):
    monkeypatch.delenv("DDPM_BUDGET", raising=False)
    assert budget() == "quick"


@pytest.mark.parametrize("value", ["quick", "full"])
def test_budget_comes_from_the_environment(monkeypatch, value):
    monkeypatch.setenv("DDPM_BUDGET", value)
    assert budget() == value


@pytest.mark.parametrize("value", ["fast", "", "FULL"])
def test_unknown_budget_is_refused(monkeypatch, value):
    monkeypatch.setenv("DDPM_BUDGET", value)
    with pytest.raises(ValueError, match=f"DDPM_BUDGET.*got '{value}'"):
        budget()


# Where we are


@pytest.fixture
def colab(monkeypatch):
    monkeypatch.setitem(sys.modules, "google.colab", types.ModuleType("google.colab"))


@pytest.fixture
def no_colab(monkeypatch):
    monkeypatch.delitem(sys.modules, "google.colab", raising=False)


@pytest.mark.usefixtures("no_colab")
def test_a_laptop_is_not_colab():
    assert not in_colab()
    assert describe_machine()["Colab"] == "no"


@pytest.mark.usefixtures("colab")
def test_colab_is_recognised():
    assert in_colab()
    assert describe_machine()["Colab"] == "yes"


LABELS = {"Python", "PyTorch", "System", "CPU threads", "Memory", "GPU", "Colab"}


@pytest.mark.parametrize("gpus", [{}, {"cuda": 1}, {"mps": True}])
def test_every_label_of_the_machine_has_text(machine, gpus):
    machine(**gpus)
    description = describe_machine()
    assert set(description) == LABELS
    assert all(isinstance(text, str) and text for text in description.values())


def test_description_names_the_gpu(machine):
    machine(cuda=1)
    assert describe_machine()["GPU"] == "GPU number 0"


def test_gpu_that_is_counted_but_cannot_be_used_is_still_described(machine, monkeypatch):
    machine(cuda=1)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert isinstance(describe_machine()["GPU"], str)


def test_memory_may_be_unknown(monkeypatch):
    def refuse(name):
        raise ValueError(name)

    monkeypatch.setattr(runtime.os, "sysconf", refuse)
    assert describe_machine()["Memory"] == "unknown"


def test_memory_is_a_sensible_number_of_gigabytes():
    memory = runtime.memory_gb()
    assert memory is None or 0.5 < memory < 100_000


# Files that come with the package


def test_assets_lie_beside_the_package_in_a_checkout(monkeypatch, tmp_path):
    monkeypatch.setattr(runtime, "__file__", str(tmp_path / "ddpm_lesson" / "runtime.py"))
    assert assets_folder() == tmp_path / "assets"


def test_assets_lie_inside_the_package_when_installed(monkeypatch, tmp_path):
    inside = tmp_path / "ddpm_lesson" / "assets"
    inside.mkdir(parents=True)
    monkeypatch.setattr(runtime, "__file__", str(tmp_path / "ddpm_lesson" / "runtime.py"))
    assert assets_folder() == inside
