"""The commands, as a user types them."""

import json
import sys
from dataclasses import fields

import pytest
from click.testing import CliRunner
from PIL import Image

from ddpm_lesson.cli import GIF_FRAMES, main
from ddpm_lesson.train import TrainConfig

TINY = [
    *("--n-channels=8", "--n-groups=4", "--is-attn=no,no", "--n-steps=100", "--device=cpu"),
    *("--train-steps=3", "--batch-size=8", "--n-samples=4", "--sample-steps=2"),
]


def invoke(*arguments):
    return CliRunner().invoke(main, [str(a) for a in arguments])


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with a tiny trained model."""
    folder = tmp_path_factory.mktemp("run")
    result = invoke("train", "digits", "--out", folder, *TINY)
    assert result.exit_code == 0, result.output
    return folder


def settings(folder):
    return json.loads((folder / "settings.json").read_text())["training"]


def test_every_setting_has_an_option_with_help():
    text = " ".join(invoke("train", "--help").output.split())
    for field in fields(TrainConfig):
        assert f"--{field.name.replace('_', '-')} " in text
        assert field.metadata["help"] in text


def test_overrides_reach_the_run(trained):
    training = settings(trained)
    assert training["n_channels"] == 8
    assert training["is_attn"] == [False, False]
    assert training["n_steps"] == 100
    assert training["lr"] == 2e-3  # the preset's


@pytest.mark.parametrize(
    ("option", "name", "value"),
    [
        ("--ch-mults=1,3", "ch_mults", [1, 3]),
        ("--flip", "flip", True),
        ("--no-clip-x0", "clip_x0", False),
        ("--schedule=cosine", "schedule", "cosine"),
        ("--image-size=4", "image_size", 4),
    ],
)
def test_options_of_every_kind_are_understood(tmp_path, option, name, value):
    result = invoke("train", "digits", "--out", tmp_path, *TINY, option, "--train-steps=1")
    assert result.exit_code == 0, result.output
    assert settings(tmp_path)[name] == value


def test_resume_keeps_the_settings_of_the_run_and_takes_overrides(trained):
    result = invoke("train", "digits", "--out", trained, "--resume", "--train-steps=5", "--device=cpu")
    assert result.exit_code == 0, result.output
    assert settings(trained)["train_steps"] == 5
    assert settings(trained)["n_channels"] == 8
    assert json.loads((trained / "settings.json").read_text())["step"] == 5


def test_a_run_is_not_resumed_as_another(trained):
    result = invoke("train", "mnist", "--out", trained, "--resume")
    assert result.exit_code == 1
    assert "trains on 'digits', not on 'mnist'" in result.output


@pytest.mark.parametrize("sampler", [[], ["--steps=7", "--eta=0.5"]])
def test_sample_writes_a_grid_and_an_animation(trained, tmp_path, sampler):
    result = invoke("sample", trained, "--out", tmp_path / "new", "--n=4", "--device=cpu", *sampler)
    assert result.exit_code == 0, result.output
    with Image.open(tmp_path / "new" / "reverse.gif") as gif, Image.open(tmp_path / "new" / "grid.png") as grid:
        assert gif.width <= grid.width
        assert 2 < gif.n_frames <= GIF_FRAMES + 1


def test_sample_repeats_with_the_seed(trained, tmp_path):
    def grid(name, seed):
        invoke("sample", trained, "--out", tmp_path / name, "--n=4", "--steps=3", f"--seed={seed}")
        return (tmp_path / name / "grid.png").read_bytes()

    assert grid("a", 1) == grid("b", 1) != grid("c", 2)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["train", "digts"], ["'digts'", "did you mean 'digits'", "cifar10"]),
        (["train", "digits", "--n-groups=5"], ["n_groups", "5", "32"]),
        (["train", "digits", "--lr=-1"], ["lr", "-1"]),
        (["train", "digits", "--train-steps=0"], ["train_steps", "0"]),
        (["train", "digits", "--mixed-precision=fp8"], ["mixed_precision", "fp8", "bf16"]),
        (["train", "digits", "--schedule=linaer"], ["schedule", "linaer", "linear"]),
        (["train", "digits", "--data=no-such-set"], ["no-such-set", "digits"]),
        (["train", "digits", "--device=tpu"], ["device", "tpu", "cuda"]),
        (["train", "digits", "--ch-mults=1,2,4,8,16", "--is-attn=no,no,no,no,no"], ["divisible by 16", "8 x 8"]),
        (["train", "digits", "--ch-mults=1,2,4"], ["is_attn", "3"]),
        (["sample", "mnits"], ["mnits", "mnist"]),
        (["sample", "digits", "--steps=0"], ["n_steps", "0"]),
        (["sample", "digits", "--steps=9", "--eta=2"], ["eta", "2"]),
    ],
)
def test_mistakes_are_answered_in_a_sentence(tmp_path, arguments, words):
    result = invoke(*arguments, "--out", tmp_path / "out")
    assert result.exit_code == 1
    assert isinstance(result.exception, SystemExit)  # not a traceback
    for word in words:
        assert word in result.output


def test_a_value_of_the_wrong_type_is_a_usage_error():
    result = invoke("train", "digits", "--ch-mults=1,two")
    assert result.exit_code == 2
    assert "'two' is not a valid integer" in result.output


def test_a_run_is_not_overwritten(trained):
    before = (trained / "training.safetensors").read_bytes()
    result = invoke("train", "digits", "--out", trained, *TINY)
    assert result.exit_code == 1
    assert "already holds a run" in result.output
    assert (trained / "training.safetensors").read_bytes() == before


# Exchange with diffusers


def test_a_model_goes_out_to_diffusers_and_comes_back(trained, tmp_path):
    pipeline, back = tmp_path / "pipeline", tmp_path / "back"
    assert invoke("export", trained, pipeline).exit_code == 0
    assert json.loads((pipeline / "unet" / "config.json").read_text())["sample_size"] == 8
    assert invoke("import", pipeline, back).exit_code == 0
    for model in (trained, back):
        result = invoke("sample", model, "--out", model / "new", "--n=4", "--steps=3", "--device=cpu")
        assert result.exit_code == 0, result.output
    assert (trained / "new" / "grid.png").read_bytes() == (back / "new" / "grid.png").read_bytes()


def test_export_says_how_to_open_the_pipeline(diffusers, trained, tmp_path):
    result = invoke("export", trained, tmp_path / "pipeline")
    code = result.output.partition(": ")[2]
    assert code.startswith(f"diffusers.DDPMPipeline.from_pretrained('{tmp_path / 'pipeline'}')(")
    assert eval(code, {"diffusers": diffusers}).images[0].size == (8, 8)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["export", "mnits"], ["mnits", "mnist"]),
        (["import", "."], ["model_index.json"]),
        (["import", "no/such/place"], ["'no/such/place' is not a folder here"]),
    ],
)
def test_mistakes_in_an_exchange_are_answered_in_a_sentence(tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    result = invoke(*arguments, tmp_path / "out")
    assert result.exit_code == 1
    assert isinstance(result.exception, SystemExit)
    assert [word for word in words if word not in result.output] == []
    assert not (tmp_path / "out").exists()


def test_import_does_not_overwrite_a_model(trained, tmp_path):
    invoke("export", trained, tmp_path / "pipeline")
    before = (trained / "settings.json").read_bytes()
    result = invoke("import", tmp_path / "pipeline", trained)
    assert result.exit_code == 1
    assert "already holds a model" in result.output
    assert (trained / "settings.json").read_bytes() == before


def test_exchange_without_diffusers_says_what_to_install(trained, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "diffusers", None)
    result = invoke("export", trained, tmp_path)
    assert result.exit_code == 1
    assert 'pip install "ddpm-lesson[diffusers]"' in result.output
