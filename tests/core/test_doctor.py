"""The doctor says what is wrong with a model, finds nothing wrong with healthy ones, and refuses what is no model."""

import sys
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from ddpm_lesson import checkpoint
from ddpm_lesson.cli import main
from ddpm_lesson.diffusion import DenoiseDiffusion
from ddpm_lesson.doctor import PROBES, examine, patient_of
from ddpm_lesson.run import run
from ddpm_lesson.schedule import NoiseSchedule
from ddpm_lesson.train import TrainState, get_preset
from tests.core.ailments import AILMENTS, QUICK
from tests.tiny import TINY


def doctor(*arguments):
    result = CliRunner().invoke(main, ["doctor", *arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.output


@pytest.fixture
def patient(monkeypatch, tmp_path):
    """The shipped digits, for somebody to make ill."""
    monkeypatch.setenv("DDPM_DATA", str(tmp_path))
    return patient_of("digits")


SHIPPED = {f.parent.name for f in (Path(__file__).parents[2] / "assets").glob("*/model.safetensors")}
TRAINED = [{"seed": 1}, {"seed": 2, "prediction": "v"}, {"seed": 3, "prediction": "x0", "schedule": "cosine"}]
SLOW = [
    pytest.param(name, marks=pytest.mark.slow) for name in sorted(SHIPPED - {"digits", "digits_guided", "digits_flow"})
]


@pytest.mark.parametrize("name", ["digits", "digits_guided", *SLOW])
def test_shipped_weights_are_healthy(name, monkeypatch, tmp_path):
    monkeypatch.setenv("DDPM_DATA", str(tmp_path))
    code, said = doctor(name)
    assert (code, said.count("ok  ")) == (0, len(PROBES)), said


@pytest.mark.slow
@pytest.mark.parametrize("settings", TRAINED, ids=str)
def test_models_trained_just_now_are_healthy(settings, tmp_path):
    run(get_preset("digits", **settings), tmp_path / "run", "cpu")
    code, said = doctor(str(tmp_path / "run"))
    assert (code, said.count("ok  ")) == (0, len(PROBES)), said


@pytest.mark.parametrize("name", [pytest.param(n, marks=() if n in QUICK else pytest.mark.slow) for n in AILMENTS])
@torch.no_grad()
def test_what_is_done_to_a_model_is_seen(patient, name):
    harm, probes = AILMENTS[name]
    harm(patient.diffusion)
    with torch.enable_grad():
        seen = {probe for probe, finding in examine(patient) if not finding.ok}
    assert probes <= seen


def test_a_chain_that_ends_too_early_is_seen(patient):
    short = DenoiseDiffusion(patient.diffusion.eps_model, schedule=NoiseSchedule.linear(1000, 1e-4, 5e-3))
    found = dict(examine(patient._replace(diffusion=short)))
    assert not found["schedule"].ok
    assert "0.078" in found["schedule"].sentence


def test_a_look_leaves_no_gradient_and_no_other_mode(patient):
    patient.diffusion.train()
    list(examine(patient))
    assert patient.diffusion.training
    assert all(p.grad is None for p in patient.diffusion.parameters())


def test_an_average_far_from_its_weights_is_seen(tmp_path):
    state = TrainState(TINY, (1, 8, 8), "cpu")
    state.step = 0
    for i, spoilt in enumerate((False, True)):
        if spoilt:
            with torch.no_grad():
                for p in state.ema.module.parameters():
                    p.mul_(-1)
        checkpoint.save_training(state, tmp_path / str(i))
        found = dict(examine(patient_of(str(tmp_path / str(i)))))
        assert found["average"].ok != spoilt
        assert not found["loss by t"].ok  # nothing has been learnt


# Models from functions

MODULE = """
import torch

from ddpm_lesson import checkpoint, exchange


class Half(torch.nn.Module):
    def forward(self, xt, t):
        return 0.5 * xt


class Wide(torch.nn.Module):
    def forward(self, xt, t):
        return xt.flatten(1)


def ours():
    return checkpoint.load("digits", "cpu")

def parts():
    return ours().eps_model, ours().alpha_bar

class Theirs(torch.nn.Module):
    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, xt, t):
        return self.network(xt, t).sample

def theirs():
    import diffusers

    exchange.to_diffusers(ours(), "theirs")
    network = diffusers.UNet2DModel.from_pretrained("theirs", subfolder="unet")
    scheduler = diffusers.DDPMScheduler.from_pretrained("theirs", subfolder="scheduler")
    return Theirs(network), scheduler.alphas_cumprod

def sick():
    return Half(), ours().alpha_bar

def wide():
    return Wide(), ours().alpha_bar

def needy(argument):
    return ours()

def broken():
    raise OSError("no weights here")

def flat():
    return ours().eps_model, ours().alpha_bar.flip(0)

nothing = 3
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    """A module of somebody's own, in the present folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "their_model", raising=False)
    (tmp_path / "their_model.py").write_text(MODULE, encoding="utf-8")
    yield "their_model"
    sys.modules.pop("their_model", None)


@pytest.mark.parametrize(("function", "code"), [("ours", 0), ("parts", 0), ("theirs", 0), ("sick", 1)])
def test_a_model_from_a_function_is_looked_at(module, function, code):
    found, said = doctor(f"{module}:{function}", "--data", "digits")
    assert found == code, said
    assert ("SICK" in said) == bool(code)


@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        ("their_model:nothing", "must be a function without arguments that returns a model"),
        ("their_model:broken", "it stops with OSError: no weights here"),
        ("their_model:needy", "must be a function without arguments that returns a model"),
        ("their_model:absent", "has no attribute 'absent'"),
        ("no_such_module:model", "No module named 'no_such_module'"),
        ("json:JSONDecoder", "must return a DenoiseDiffusion, or a network and alpha_bar; got JSONDecoder"),
        ("their_model:wide", "must answer in the shape of x_t, (64, 1, 8, 8); got (64, 64)"),
        ("their_model:flat", "alpha_bar of their_model:flat makes no schedule"),
        ("nowhere", "no checkpoint at 'nowhere'"),
    ],
)
def test_what_is_no_patient_is_refused_in_one_sentence(module, model, sentence):
    code, said = doctor(model, "--data", "digits")
    assert code == 2
    assert sentence in said
    assert "Traceback" not in said


def test_images_must_fit(module):
    assert "does not say what it was trained on" in doctor(f"{module}:ours")[1]
    code, said = doctor("mnist", "--data", "digits")
    assert (code, "images must have the shape of the model's, (1, 28, 28)" in said) == (2, True)
    assert doctor("digits", "--data", "nonsense")[0] == 2


def test_a_checkpoint_of_something_else_is_refused(tmp_path):
    (tmp_path / "settings.json").write_text('{"format": "other"}', encoding="utf-8")
    code, said = doctor(str(tmp_path))
    assert code == 2
    assert "is not of this project" in said
