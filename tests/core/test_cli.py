"""The commands, as a user types them."""

import json
import signal
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from ddpm_lesson import checkpoint
from ddpm_lesson.cli import main
from ddpm_lesson.cli.sample import GIF_FRAMES
from ddpm_lesson.train import TrainConfig, train
from ddpm_lesson.unet import UNet

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
    return json.loads((folder / "settings.json").read_text(encoding="utf-8"))["training"]


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
    assert json.loads((trained / "settings.json").read_text(encoding="utf-8"))["step"] == 5


def test_a_run_resumed_under_another_preset_keeps_its_data_and_says_so(trained):
    before = settings(trained)
    result = invoke("train", "mnist", "--out", trained, "--resume", "--device=cpu")
    assert result.exit_code == 0, result.output
    assert "This run trains on 'digits', and not on 'mnist'" in result.output
    assert settings(trained) == before


def test_changed_setting_is_said_with_both_values(trained):
    result = invoke("train", "digits", "--out", trained, "--resume", "--lr=0.001", "--device=cpu")
    assert result.exit_code == 0, result.output
    assert "lr is 0.001; it was 0.002" in result.output


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("--batch-size=9", "batch_size is 8 there and 9 here"),
        ("--image-size=16", "image_size is None there and 16 here"),
        ("--seed=1", "seed is 0 there and 1 here"),
        ("--train-steps=1", "train_steps must be at least"),
        ("--data=no-such-set", "no data set or folder called 'no-such-set'"),
    ],
)
def test_resume_refuses_what_would_have_changed_the_steps_already_taken(trained, option, words):
    before = (trained / "training.safetensors").read_bytes()
    result = invoke("train", "digits", "--out", trained, "--resume", option, "--device=cpu")
    assert result.exit_code == 1
    assert words in result.output
    assert (trained / "training.safetensors").read_bytes() == before


@pytest.fixture
def photos(tmp_path, monkeypatch):
    """A folder of 8 pictures, beside the place where the commands run."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    for i in range(8):
        Image.new("L", (8, 8), 30 * i).save(tmp_path / "photos" / f"{i}.png")
    assert invoke("train", "digits", "--data=photos", "--out=run", *TINY).exit_code == 0
    return tmp_path / "photos"


@pytest.mark.parametrize("data", [None, "./photos", "photos/", "absolute"])
def test_run_on_images_of_your_own_goes_on(photos, data):
    option = [] if data is None else [f"--data={photos if data == 'absolute' else data}"]
    result = invoke("train", "digits", "--out=run", "--resume", "--train-steps=4", *option, "--device=cpu")
    assert result.exit_code == 0, result.output


def test_run_goes_on_with_the_same_images_elsewhere(photos):
    photos.rename(photos.parent / "moved")
    result = invoke("train", "digits", "--out=run", "--resume", "--train-steps=4", "--device=cpu")
    assert result.exit_code == 1
    assert "If the images of this run were moved, let the setting data say where to" in result.output
    result = invoke("train", "digits", "--out=run", "--resume", "--train-steps=4", "--data=moved", "--device=cpu")
    assert result.exit_code == 0, result.output
    assert "data is 'moved'; it was 'photos'" in result.output


def test_run_does_not_go_on_with_other_images_of_the_same_name(photos):
    Image.new("L", (8, 8), 255).save(photos / "0.png")
    result = invoke("train", "digits", "--out=run", "--resume", "--train-steps=4", "--device=cpu")
    assert result.exit_code == 1
    assert "the images in 'photos' are not those that run was trained on" in result.output


@pytest.mark.parametrize("left", ["settings.json", "model.safetensors", "training.safetensors"])
@pytest.mark.parametrize(
    "command",
    [
        ["train", "digits", "--train-steps=1", "--out"],
        ["train-classifier", "digits", "--epochs=1", "--out"],
        ["import", "pipeline"],
    ],
    ids=lambda command: command[0],
)
def test_nothing_is_written_over_what_is_left_of_a_run(trained, tmp_path, left, command):
    (tmp_path / left).write_bytes((trained / left).read_bytes())
    result = invoke(*command, tmp_path)
    assert result.exit_code == 1
    assert f"already holds a run or a model ({left})" in result.output
    assert [f.name for f in tmp_path.iterdir()] == [left]


def test_stopped_training_says_where_it_stands_and_how_to_go_on(tmp_path, monkeypatch):
    def stop_at_2(state, dataset):
        for step in train(state, dataset):
            if step.step == 2:
                signal.raise_signal(signal.SIGINT)
            yield step

    monkeypatch.setattr("ddpm_lesson.run.train", stop_at_2)
    result = invoke("train", "digits", "--out", tmp_path, *TINY)
    assert result.exit_code == 130
    assert f"step 2 of 3. Go on with: ddpm-lesson train digits --resume --out {tmp_path}\n" in result.output


def test_last_line_names_only_what_is_there(trained):
    result = invoke("train", "digits", "--out", trained, "--resume", "--device=cpu")
    assert f"{trained}: weights, samples. Draw more" in result.output


def test_interrupt_is_no_traceback_and_no_success(monkeypatch, tmp_path):
    monkeypatch.setattr("ddpm_lesson.cli.train.run", lambda *_, **__: signal.raise_signal(signal.SIGINT))
    result = invoke("train", "digits", "--out", tmp_path, *TINY)
    assert (result.exit_code, result.output) == (130, "interrupted\n")


@pytest.mark.parametrize("sampler", [[], ["--steps=7", "--eta=0.5"], ["--eta=0.5"]])
def test_sample_writes_a_grid_and_an_animation(trained, tmp_path, sampler):
    result = invoke("sample", trained, "--out", tmp_path / "new", "--n=4", "--device=cpu", *sampler)
    assert result.exit_code == 0, result.output
    with Image.open(tmp_path / "new" / "reverse.gif") as gif, Image.open(tmp_path / "new" / "grid.png") as grid:
        assert gif.width <= grid.width
        assert 2 < gif.n_frames <= GIF_FRAMES + 1


@pytest.fixture(scope="module")
def kinds(tmp_path_factory):
    """Folders of a model that takes labels, of a flow, and of a flow that takes labels."""
    made = {"guided": ["--n-classes=10"], "flow": ["--prediction=flow"]}
    made["both"] = made["guided"] + made["flow"]
    folders = {name: tmp_path_factory.mktemp(name) for name in made}
    for name, options in made.items():
        assert invoke("train", "digits", "--out", folders[name], *TINY, *options).exit_code == 0
    return folders


@pytest.mark.parametrize(
    ("model", "options"),
    [
        ("guided", []),
        ("guided", ["--label=7"]),
        ("guided", ["--label=7", "--scale=3", "--solver=dpm", "--steps=4"]),
        ("guided", ["--label=0", "--solver=heun", "--steps=3"]),
        ("guided", ["--solver=ddpm", "--steps=5"]),
        ("guided", ["--solver=ddim"]),
        ("flow", []),
        ("flow", ["--solver=heun", "--steps=3"]),
        ("both", ["--label=3", "--scale=1", "--steps=3"]),
    ],
    ids=str,
)
def test_every_kind_of_model_is_sampled_in_every_way(kinds, tmp_path, model, options):
    result = invoke("sample", kinds[model], "--out", tmp_path, "--n=4", "--device=cpu", *options)
    assert result.exit_code == 0, result.output
    assert (tmp_path / "grid.png").is_file()


@pytest.mark.parametrize("model", ["guided", "both"])
def test_the_labels_decide_in_turn_what_is_drawn(kinds, tmp_path, model, monkeypatch):
    asked = []
    forward = UNet.forward

    def listening(self, xt, t, class_labels=None):
        asked.append(class_labels)
        return forward(self, xt, t, class_labels)

    monkeypatch.setattr(UNet, "forward", listening)
    options = ("--n=3", "--steps=2", "--label=7", "--label=2", "--device=cpu")
    result = invoke("sample", kinds[model], "--out", tmp_path, *options)
    assert result.exit_code == 0, result.output
    expected = [10, 10, 10, 7, 2, 7] if model == "guided" else [7, 2, 7]
    assert [labels.tolist() for labels in asked] == [expected] * 2


@pytest.mark.parametrize(
    ("model", "options", "words"),
    [
        ("guided", ["--label=3", "--label=10"], "label must be one of 0 .. 9; got 10"),
        ("flow", ["--label=1"], "label must be left out: this model takes no labels; got 1"),
        ("guided", ["--scale=2"], "scale belongs to a label: give --label too; got 2 without"),
        ("guided", ["--label=1", "--scale=-1"], "scale must be at least 0"),
        ("guided", ["--label=1", "--scale=nan"], "scale must be at least 0"),
        ("guided", ["--solver=euler"], "solver must be one of ddpm, ddim, heun, dpm for a diffusion; got euler"),
        ("guided", ["--solver=dpm", "--steps=1"], "steps must be in 2 .. 100 for the solver dpm; got 1"),
        ("guided", ["--steps=101"], "steps must be in 1 .. 100 for the solver ddim; got 101"),
        ("guided", ["--solver=dpm", "--steps=5", "--eta=0.5"], "eta belongs to the solver ddim; got 0.5 for dpm"),
        ("flow", ["--steps=5", "--eta=0.5"], "eta belongs to the solver ddim; got 0.5 for euler"),
        ("flow", ["--solver=dpm"], "solver must be one of euler, heun for a flow; got dpm"),
        ("flow", ["--steps=0"], "steps must be in 1 .. 100,000 for the solver euler; got 0"),
        ("flow", ["--solver=heun", "--steps=1"], "steps must be in 2 .. 100,000 for the solver heun; got 1"),
        ("both", ["--label=1", "--scale=2"], "scale must be left out for a flow"),
    ],
    ids=str,
)
def test_choices_that_do_not_fit_are_answered_in_a_sentence(kinds, tmp_path, model, options, words):
    result = invoke("sample", kinds[model], "--out", tmp_path / "new" / "out", "--n=2", "--device=cpu", *options)
    assert result.exit_code == 1
    assert isinstance(result.exception, SystemExit)
    assert words in result.output
    assert not (tmp_path / "new").exists()


def test_guided_samples_are_evaluated_with_every_label_in_turn(kinds, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr("ddpm_lesson.cli.sample.guided", lambda model, *how: asked.append(how) or model)
    options = ("--n=40", "--bits-images=2", "--bits-times=2", "--device=cpu", "--out", tmp_path)
    result = invoke("evaluate", kinds["guided"], *options, "--scale=1.5", "--solver=dpm", "--steps=2")
    assert result.exit_code == 0, result.output
    ((labels, scale),) = asked
    assert (labels.bincount().tolist(), scale) == ([4] * 10, 1.5)
    record = json.loads((tmp_path / "evaluation.json").read_text(encoding="utf-8"))
    assert (record["solver"], record["steps"], record["scale"]) == ("dpm", 2, 1.5)


def test_a_scale_without_labels_is_answered_before_any_sampling(kinds, tmp_path):
    result = invoke("evaluate", "digits", "--out", tmp_path / "new", "--scale=2")
    assert result.exit_code == 1
    assert "scale must be left out: this model takes no labels; got 2" in result.output
    assert not (tmp_path / "new").exists()


def test_a_flow_is_neither_evaluated_nor_examined_nor_exported_and_that_is_said(kinds, tmp_path):
    for command in (["evaluate"], ["doctor"], ["export", tmp_path / "out"]):
        result = invoke(command[0], kinds["flow"], *command[1:])
        assert result.exit_code in (1, 2)
        assert "is a flow, and no diffusion" in result.output


@pytest.mark.parametrize("model", ["guided", "flow"])
def test_a_network_goes_out_as_onnx(kinds, tmp_path, model):
    runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    pytest.importorskip("onnxscript", reason="onnxscript is not installed")
    result = invoke("export", kinds[model], tmp_path / "new" / "unet.onnx")
    assert result.exit_code == 0, result.output
    session = eval(result.output.partition(": ")[2], {"onnxruntime": runtime})
    assert [i.name for i in session.get_inputs()] == ["xt", "t", "class_labels"][: 3 if model == "guided" else 2]


def test_a_model_with_labels_goes_out_to_diffusers_and_comes_back(kinds, tmp_path):
    result = invoke("export", kinds["guided"], tmp_path / "pipeline")
    assert "ask diffusers.UNet2DModel.from_pretrained(" in result.output
    assert invoke("import", tmp_path / "pipeline", tmp_path / "back").exit_code == 0
    ours, back = checkpoint.load(kinds["guided"], "cpu"), checkpoint.load(tmp_path / "back", "cpu")
    assert back.eps_model.settings == ours.eps_model.settings
    assert [n for n, w in ours.state_dict().items() if not torch.equal(w, back.state_dict()[n])] == []


def test_sample_repeats_with_the_seed(trained, tmp_path):
    def grid(name, seed):
        invoke("sample", trained, "--out", tmp_path / name, "--n=4", "--steps=3", f"--seed={seed}")
        return (tmp_path / name / "grid.png").read_bytes()

    assert grid("a", 1) == grid("b", 1) != grid("c", 2)


def test_more_images_than_fit_at_once_are_sampled_in_batches(trained, tmp_path, monkeypatch):
    monkeypatch.setattr("ddpm_lesson.cli.sample.BATCH", 3)
    result = invoke("sample", trained, "--out", tmp_path, "--n=7", "--steps=2", "--device=cpu")
    assert result.exit_code == 0, result.output
    with Image.open(tmp_path / "grid.png") as grid, Image.open(tmp_path / "reverse.gif") as gif:
        assert (grid.width // 28, gif.n_frames) == (18, 3)  # 28 = 3 columns of 9 pixels and a border


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--solver=ddpm", "--eta=0.7"], "eta belongs to the solver ddim; got 0.7 for ddpm"),
        (["--out=FILE/out"], "cannot write into"),
    ],
)
def test_what_would_be_in_vain_is_said_before_sampling(trained, tmp_path, monkeypatch, options, words):
    monkeypatch.chdir(tmp_path)
    Path("FILE").touch()
    monkeypatch.setattr("ddpm_lesson.cli.sample.ddpm_steps", lambda *arguments: pytest.fail("it sampled"))
    result = invoke("sample", trained, *options)
    assert result.exit_code == 1
    assert words in result.output


@pytest.mark.parametrize("option", ["--seed=99999999999999999999", "--seed=-1", "--n=0", "--n=1000000000"])
def test_numbers_out_of_range_are_usage_errors(option):
    result = invoke("sample", "digits", option)
    assert result.exit_code == 2
    assert "is not in the range" in result.output


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
        (["sample", "digits", "--steps=0"], ["steps must be in 1 .. 1,000", "0"]),
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
    assert json.loads((pipeline / "unet" / "config.json").read_text(encoding="utf-8"))["sample_size"] == 8
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
    assert "already holds a run or a model" in result.output
    assert (trained / "settings.json").read_bytes() == before


def test_exchange_without_diffusers_says_what_to_install(trained, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "diffusers", None)
    result = invoke("export", trained, tmp_path)
    assert result.exit_code == 1
    assert 'pip install "ddpm-lesson[diffusers]"' in result.output


IMPATIENT = """
import sys

class Impatient:
    def find_spec(name, path, target=None):
        if name == "torch":
            raise KeyboardInterrupt

sys.meta_path.insert(0, Impatient)
from ddpm_lesson.__main__ import main

main()
"""


def test_an_interrupt_while_pytorch_is_loaded_is_answered_in_a_word():
    done = subprocess.run([sys.executable, "-c", IMPATIENT], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (130, "interrupted\n")
