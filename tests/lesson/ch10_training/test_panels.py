"""Notebook 10's panels and its dashboard: what they show, and that a run can be stopped and resumed from them."""

import os
import signal
from dataclasses import replace

import pytest
import torch

from ddpm_lesson.lesson.ch10_training import panels
from ddpm_lesson.lesson.ch10_training.measure import spread
from ddpm_lesson.lesson.ch10_training.memory import measured_memory
from ddpm_lesson.lesson.ch10_training.record import CURVES, RECORDS, load_curve, load_record
from ddpm_lesson.lesson.kit.live import LiveRun, looks_in_steps
from ddpm_lesson.runtime import assets_folder
from ddpm_lesson.train import PRESETS
from tests.lesson.shown import shown
from tests.tiny import TINY

pytestmark = pytest.mark.usefixtures("one_thread")


LOSSES = torch.linspace(0.5, 0.01, 16)[:, None] * torch.rand(16, 40, generator=torch.Generator().manual_seed(0))
PANELS = {
    "show_time_machine": lambda: panels.show_time_machine(load_record("digits")),
    "show_average": panels.show_average,
    "show_wobble": lambda: panels.show_wobble(LOSSES),
    "show_memory": lambda: panels.show_memory(measured_memory()),
}


def test_the_first_weights_in_words_are_those_of_the_formula():
    panel = panels.show_average()
    panel.controls["decay"].value = 0.98
    panel.controls["step"].value = 50
    assert f"still count {0.98**50:.1%}" in shown(panel)[1]
    panel.controls["warm_up"].value = "yes"
    assert "still count less than 0.1%" in shown(panel)[1]


def test_the_wobble_that_is_predicted_is_seen():
    panel = panels.show_wobble(LOSSES)
    panel.controls["batch_size"].value = 64
    for even in ("no", "yes"):
        panel.controls["even"].value = even
        predicted = spread(LOSSES).of_batch(64, stratified=even == "yes") ** 0.5
        assert f"predicted {predicted:.3f}" in shown(panel)[1]
        seen = float(shown(panel)[1].split("standard deviation ")[1].split(",")[0])
        assert abs(seen - predicted) < 0.4 * predicted


def test_parts_save_activations_only():
    panel = panels.show_memory(measured_memory())
    memory = measured_memory()["cifar10"]
    panel.controls["parts"].value = 4
    assert f"training {sum(memory.training(32).values()) / 1e9:.2f} GB" in shown(panel)[1]
    assert f"sampling {memory.sampling(128) / 1e9:.2f} GB" in shown(panel)[1]


def test_time_machine_shows_every_step_and_leaves_all_of_them_behind():
    record = load_record("digits")
    panel = panels.show_time_machine(record)
    for step in record.steps:
        assert str(step) in panel.static.alt
        panel.controls["step"].value = step
        assert f"after {step} steps" in shown(panel)[1]


# Choosing and watching a run


@pytest.fixture
def quick_clock(monkeypatch):
    monkeypatch.setattr(panels, "step_seconds", lambda preset, device: 0.2 if preset == "digits" else 60.0)


def test_expected_time_follows_data_and_budget(quick_clock):
    chosen = panels.choose_training("quick")
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
    chosen = panels.choose_training("quick")
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
    chosen = panels.choose_training("coffee")
    assert "holds a run" not in chosen.words.value
    run = LiveRun(TINY, chosen.folder, "cpu", n_samples=2)
    list(run.go(stop_at=5))
    chosen.measure()
    assert f"<code>{chosen.folder}</code> holds a run at step 5 of 12: it goes on from there" in chosen.words.value
    list(run.go())
    chosen.measure()
    assert "step 12 of 12: delete the folder to train anew" in chosen.words.value
    assert f"finished; delete {chosen.folder} to train anew" in panels.watch_training(chosen).picture.alt
    (chosen.folder / "settings.json").write_text("{")
    chosen.measure()
    assert "cannot be read" in chosen.words.value


def test_steps_are_timed_as_they_are_trained():
    panels.step_seconds.cache_clear()
    seconds = panels.step_seconds("digits", "cpu")
    assert 0 < seconds < float("inf")
    assert panels.step_seconds("digits", "cpu") == seconds


def test_without_a_kernel_choice_and_dashboard_are_still_seen(quick_clock, tmp_path):
    chosen = panels.choose_training("quick")
    page = chosen._repr_mimebundle_()["text/html"]
    assert "preset <b>digits</b>, budget <b>quick</b>" in page
    assert "CPU: there" in page
    assert chosen.words.value in page
    data, _ = panels.Dashboard(TINY, tmp_path, "cpu")._repr_mimebundle_()
    assert data["image/png"]
    assert "step 0 of 12" in data["text/plain"]


def test_devices_that_are_not_there_are_grey(quick_clock):
    buttons = panels.choose_training().devices.buttons
    assert not buttons["cpu"].disabled
    assert buttons["cuda"].disabled is not torch.cuda.is_available()


def test_quick_runs_begin_anew_in_a_folder_of_their_own(quick_clock):
    chosen = panels.choose_training("quick")
    assert chosen.folder is None
    assert panels.watch_training(chosen).run.folder != panels.watch_training(chosen).run.folder


def test_dashboard_stops_where_it_is_told_and_goes_on(tmp_path):
    dashboard = panels.Dashboard(TINY, tmp_path, "cpu", ([1, 10], [1.0, 0.5]))
    assert "step 0 of 12: ready" in dashboard.image.value
    dashboard.train(stop_at=5)
    assert dashboard.run.state.step == 5
    assert "stopped and saved" in dashboard.picture.alt
    again = panels.Dashboard(TINY, tmp_path, "cpu")
    assert again.run.state.step == dashboard.run.state.step
    picture = again.train()
    assert "step 12 of 12" in picture.alt
    assert "finished" in picture.alt
    assert again.train() == picture  # nothing left to do


def test_interrupt_stops_after_the_step_and_saves(tmp_path, monkeypatch):
    dashboard = panels.Dashboard(replace(TINY, train_steps=500), tmp_path, "cpu")
    show, interrupts = dashboard.show, []

    def show_and_interrupt(state):
        show(state)
        if not interrupts:
            interrupts.append(dashboard.run.state.step)
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(dashboard, "show", show_and_interrupt)
    dashboard.train()
    assert dashboard.run.state.step <= interrupts[0] + 1
    assert "stopped and saved" in dashboard.picture.alt
    assert panels.Dashboard(TINY, tmp_path, "cpu").run.state.step == dashboard.run.state.step


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
    whole = panels.Dashboard(TINY, tmp_path / "whole", "cpu")
    whole.train()
    dashboard = panels.Dashboard(TINY, tmp_path / "parts", "cpu")
    interrupted_within(dashboard.run.state.optimizer, monkeypatch, at)
    assert f"interrupted within a step; back at {place}" in dashboard.train().alt
    assert "finished" in dashboard.train().alt
    pairs = zip(whole.run.state.ema.parameters(), dashboard.run.state.ema.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


def test_picture_keeps_its_size_while_the_run_grows(tmp_path):
    dashboard = panels.Dashboard(TINY, tmp_path, "cpu")
    before = dashboard.picture
    after = dashboard.train()
    assert (before.width, before.height) == (after.width, after.height)


def test_a_loss_that_is_no_number_ends_the_run(tmp_path, monkeypatch):
    dashboard = panels.Dashboard(TINY, tmp_path, "cpu")
    with torch.no_grad():
        dashboard.run.state.diffusion.eps_model.image_proj.bias.fill_(torch.nan)
    with pytest.raises(FloatingPointError, match=r"loss nan .* at step \d+: .* lower lr"):
        dashboard.train()
    assert "the loss is no longer a number; back at its beginning" in dashboard.picture.alt


def test_reference_is_the_run_that_comes_with_the_lesson():
    assert panels.reference_curve("digits") == tuple(map(list, zip(*load_record("digits").losses, strict=True)))
    assert panels.reference_curve("mnist") == load_curve("mnist")
    assert panels.reference_curve("fashion") == ([], [])


def test_every_record_of_the_lesson_is_named():
    folder = assets_folder() / "training"
    assert {file.stem for file in folder.glob("*.png")} == set(RECORDS)
    assert {file.stem.removesuffix("_full") for file in folder.glob("*_full.csv")} == set(CURVES)
