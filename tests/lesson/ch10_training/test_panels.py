"""Notebook 10's panels, and the runs that its dashboard shows beside the learner's."""

import torch

from ddpm_lesson.lesson.ch10_training import panels
from ddpm_lesson.lesson.ch10_training.measure import spread
from ddpm_lesson.lesson.ch10_training.memory import measured_memory
from ddpm_lesson.lesson.ch10_training.record import load_curve, load_record
from ddpm_lesson.lesson.kit import dashboard
from tests.lesson.shown import shown

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


def test_quick_runs_begin_anew_in_a_folder_of_their_own_beside_a_run_that_comes_with_the_lesson(monkeypatch):
    monkeypatch.setattr(dashboard, "step_seconds", lambda preset, device: 0.2)
    chosen = dashboard.choose_training("quick")
    assert chosen.folder is None
    one, other = (panels.watch_training(chosen) for _ in range(2))
    assert one.run.folder != other.run.folder
    thin = one.plot.live.figure.axes[0].lines[0]
    assert [list(thin.get_xdata()), list(thin.get_ydata())] == list(load_curve("digits"))
    chosen.controls["preset"].value = "fashion"
    monkeypatch.setattr(panels, "Dashboard", lambda *settings: settings)
    assert panels.watch_training(chosen)[3] == ([], [])
