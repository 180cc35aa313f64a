"""Choosing and watching a run: what is promised, and that a run can be stopped and resumed from its dashboard."""

import os
import signal
from dataclasses import replace

import pytest
import torch

from ddpm_lesson.lesson.kit import dashboard
from ddpm_lesson.lesson.kit.dashboard import Dashboard, choose_training
from ddpm_lesson.lesson.kit.live import LiveRun, looks_in_steps, step_seconds
from ddpm_lesson.train import PRESETS
from tests.tiny import TINY

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def quick_clock(monkeypatch):
    monkeypatch.setattr(dashboard, "step_seconds", lambda preset, device: 0.2 if preset == "digits" else 60.0)


def test_expected_time_follows_data_and_budget(quick_clock):
    chosen = choose_training("quick")
    assert chosen.config.train_steps == 50
    assert chosen.seconds == pytest.approx((50 + looks_in_steps(chosen.config)) * 0.2)
    assert f"about {chosen.seconds:.0f} seconds" in chosen.words.value
    assert "14% of the whole run" in chosen.words.value
    chosen.controls["budget"].value = "full"
    assert chosen.config == PRESETS["digits"]
    assert chosen.seconds > 72
    chosen.controls["preset"].value = "cifar10"
    assert "about 556 days" in chosen.words.value
    assert chosen.folder.name == "cifar10-full"


def test_budget_that_cannot_be_kept_says_so(quick_clock):
    chosen = choose_training("quick")
    assert "Too slow" not in chosen.words.value
    chosen.controls["preset"].value = "cifar10"
    for budget in ("quick", "coffee"):
        chosen.controls["budget"].value = budget
        assert f"Too slow here for the budget {budget}" in chosen.words.value
        assert "40 steps of 128 images, less than 0.1% of the whole run" in chosen.words.value
        assert "44 minutes" in chosen.words.value
    chosen.controls["budget"].value = "full"
    assert "Too slow" not in chosen.words.value


def test_run_that_is_there_already_is_told(quick_clock, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    chosen = choose_training("coffee")
    assert "holds a run" not in chosen.words.value
    run = LiveRun(TINY, chosen.folder, "cpu", n_samples=2)
    list(run.go(stop_at=5))
    chosen.measure()
    assert f"<code>{chosen.folder}</code> holds a run at step 5 of 12: it goes on from there" in chosen.words.value
    list(run.go())
    chosen.measure()
    assert "step 12 of 12: delete the folder to train anew" in chosen.words.value
    assert (
        f"finished; delete {chosen.folder} to train anew"
        in Dashboard(chosen.config, chosen.folder, chosen.device).picture.alt
    )
    (chosen.folder / "settings.json").write_text("{", encoding="utf-8")
    chosen.measure()
    assert "cannot be read" in chosen.words.value


def test_steps_are_timed_as_they_are_trained():
    step_seconds.cache_clear()
    seconds = step_seconds("digits", "cpu")
    assert 0 < seconds < float("inf")
    assert step_seconds("digits", "cpu") == seconds


def test_without_a_kernel_choice_and_dashboard_are_still_seen(quick_clock, tmp_path):
    chosen = choose_training("quick")
    page = chosen._repr_mimebundle_()["text/html"]
    assert "preset <b>digits</b>, budget <b>quick</b>" in page
    assert "CPU: there" in page
    assert chosen.words.value in page
    data, _ = Dashboard(TINY, tmp_path, "cpu")._repr_mimebundle_()
    assert data["image/png"]
    assert "step 0 of 12" in data["text/plain"]


def test_devices_that_are_not_there_are_grey(quick_clock):
    buttons = choose_training().devices.buttons
    assert not buttons["cpu"].disabled
    assert buttons["cuda"].disabled is not torch.cuda.is_available()


def test_dashboard_stops_where_it_is_told_and_goes_on(tmp_path):
    shown = Dashboard(TINY, tmp_path, "cpu", ([1, 10], [1.0, 0.5]))
    assert "step 0 of 12: ready" in shown.image.value
    shown.train(stop_at=5)
    assert shown.run.state.step == 5
    assert "stopped and saved" in shown.picture.alt
    again = Dashboard(TINY, tmp_path, "cpu")
    assert again.run.state.step == shown.run.state.step
    picture = again.train()
    assert "step 12 of 12" in picture.alt
    assert "finished" in picture.alt
    assert again.train() == picture  # nothing left to do


def test_interrupt_stops_after_the_step_and_saves(tmp_path, monkeypatch):
    shown = Dashboard(replace(TINY, train_steps=500), tmp_path, "cpu")
    show, interrupts = shown.show, []

    def show_and_interrupt(state):
        show(state)
        if not interrupts:
            interrupts.append(shown.run.state.step)
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(shown, "show", show_and_interrupt)
    shown.train()
    assert shown.run.state.step <= interrupts[0] + 1
    assert "stopped and saved" in shown.picture.alt
    assert Dashboard(TINY, tmp_path, "cpu").run.state.step == shown.run.state.step


def interrupted_within(optimizer, monkeypatch, at):
    """Let the optimiser be interrupted at its n-th step, after ``backward``."""
    step, calls = optimizer.step, []

    def interrupted(*arguments, **names):
        calls.append(1)
        if len(calls) == at:
            raise KeyboardInterrupt
        return step(*arguments, **names)

    monkeypatch.setattr(optimizer, "step", interrupted)


@pytest.mark.parametrize(("at", "place"), [(3, "its beginning"), (7, "its checkpoint of step 4")])
def test_second_interrupt_goes_back_and_the_run_ends_as_if_nothing_had_happened(tmp_path, monkeypatch, at, place):
    whole = Dashboard(TINY, tmp_path / "whole", "cpu")
    whole.train()
    shown = Dashboard(TINY, tmp_path / "parts", "cpu")
    interrupted_within(shown.run.state.optimizer, monkeypatch, at)
    assert f"interrupted within a step; back at {place}" in shown.train().alt
    assert "finished" in shown.train().alt
    pairs = zip(whole.run.state.ema.parameters(), shown.run.state.ema.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


def test_picture_keeps_its_size_while_the_run_grows(tmp_path):
    shown = Dashboard(TINY, tmp_path, "cpu")
    before = shown.picture
    after = shown.train()
    assert (before.width, before.height) == (after.width, after.height)


def test_a_loss_that_is_no_number_ends_the_run(tmp_path, monkeypatch):
    shown = Dashboard(TINY, tmp_path, "cpu")
    with torch.no_grad():
        shown.run.state.diffusion.eps_model.image_proj.bias.fill_(torch.nan)
    with pytest.raises(FloatingPointError, match=r"loss nan .* at step \d+: .* lower lr"):
        shown.train()
    assert "the loss is no longer a number; back at its beginning" in shown.picture.alt
