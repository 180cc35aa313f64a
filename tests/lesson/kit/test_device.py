"""The GPU toggle."""

import torch

from ddpm_lesson.lesson.kit import panel


def test_devices_that_are_not_there_are_greyed_with_the_reason(monkeypatch):
    monkeypatch.setattr(panel, "why_not", lambda name: None if name == "cpu" else f"no {name} today")
    choice = panel.choose_device("cpu")
    disabled = {name: button.disabled for name, button in choice.buttons.items()}
    assert disabled == {"cpu": False, "cuda": True, "mps": True}
    assert choice.buttons["cuda"].tooltip == "no cuda today"
    assert "no mps today" in choice.box.children[-1].value


def test_a_click_chooses_the_device(monkeypatch):
    monkeypatch.setattr(panel, "why_not", lambda name: None)
    monkeypatch.setattr(panel, "get_device", lambda name: torch.device("cpu" if name == "auto" else name))
    choice = panel.choose_device()
    assert choice.device.type == "cpu"
    choice.buttons["cuda"].click()
    assert choice.device.type == "cuda"
    assert {n: b.icon for n, b in choice.buttons.items()} == {"cpu": "", "cuda": "check", "mps": ""}
