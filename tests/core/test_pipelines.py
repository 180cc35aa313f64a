"""Pipelines of diffusers on disk: both libraries draw the same from them, and what cannot be opened is named."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from ddpm_lesson import checkpoint, exchange
from ddpm_lesson.checkpoint import CheckpointError
from ddpm_lesson.diffusion import DenoiseDiffusion
from ddpm_lesson.sample import sample
from ddpm_lesson.schedule import NoiseSchedule
from ddpm_lesson.unet import UNet
from tests import published
from tests.core.test_checkpoint import Trap, contents, disk_that_fills_up_after

pytestmark = pytest.mark.usefixtures("one_thread")
WEIGHTS = "unet/diffusion_pytorch_model.safetensors"
FILES = ["model_index.json", "scheduler/scheduler_config.json", "unet/config.json", WEIGHTS]


@pytest.fixture
def model(randomise):
    """``model(**settings)`` is a small one with random weights in every layer."""

    def make(**settings):
        unet = UNet(1, 8, (1, 2), (False, True), 1, n_groups=4)
        return DenoiseDiffusion(randomise(unet), **{"n_steps": 20, **settings}).eval()

    return make


@pytest.fixture
def pipeline(tmp_path, model) -> Path:
    """A folder with a pipeline that we wrote."""
    exchange.to_diffusers(model(), tmp_path / "pipeline", 8)
    return tmp_path / "pipeline"


def draw(pipeline, n_steps, generator):
    """Images of a pipeline in [-1, 1], as ours are."""
    pipeline.set_progress_bar_config(disable=True)
    images = pipeline(2, generator, num_inference_steps=n_steps, output_type="pt").images
    return 2 * images - 1


def assert_same_images(images, expected):
    assert 0.2 < images.std() < 0.95  # neither grey nor all black and white
    torch.testing.assert_close(images, expected.clamp(-1, 1), rtol=0, atol=1e-4)


def files_of(folder):
    return sorted(str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file())


def edit(file, **changes):
    """Change entries of a JSON file; ``...`` removes one."""
    entries = {**json.loads(file.read_text(encoding="utf-8")), **changes}
    file.write_text(json.dumps({name: value for name, value in entries.items() if value is not ...}), encoding="utf-8")


# Out


@pytest.mark.parametrize(
    ("n_steps", "sigma", "clip"),
    [(100, "beta", True), (20, "beta", False), (100, "posterior", True), (20, "posterior", False)],
)
def test_diffusers_draws_what_we_draw(diffusers, tmp_path, model, rng, n_steps, sigma, clip):
    ours = model(n_steps=n_steps, sigma=sigma, clip_x0=clip)
    exchange.to_diffusers(ours, tmp_path, 8)
    theirs = draw(diffusers.DDPMPipeline.from_pretrained(tmp_path), n_steps, rng())
    assert_same_images(theirs, sample(ours, (2, 1, 8, 8), generator=rng()))


SCHEDULES = {
    "cosine": NoiseSchedule.cosine(50),
    "cosine of another shape": NoiseSchedule.cosine(50, s=0.1, beta_max=0.9),
    "linear with other ends": NoiseSchedule.linear(50, 1e-3, 0.3),
    "quadratic": NoiseSchedule.quadratic(50, 1e-3, 0.3),
    "sigmoid": NoiseSchedule.sigmoid(50, 1e-3, 0.3),
    "betas of your own": NoiseSchedule.from_betas([0.01, 0.5, 0.02, 0.7]),
}


@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
def test_every_schedule_goes_out_and_comes_back(diffusers, tmp_path, model, rng, exact, schedule):
    ours = model(n_steps=None, schedule=schedule)
    exchange.to_diffusers(ours, tmp_path, 8)
    expected = sample(ours, (2, 1, 8, 8), generator=rng())
    theirs = diffusers.DDPMPipeline.from_pretrained(tmp_path)
    exact(theirs.scheduler)
    assert_same_images(draw(theirs, schedule.n_steps, rng()), expected)
    back = exchange.from_diffusers(tmp_path, "cpu")
    assert_same_images(sample(back, (2, 1, 8, 8), generator=rng()), expected)


@pytest.mark.parametrize("kind", ["linear", "quadratic", "sigmoid"])
def test_schedule_keeps_its_name(tmp_path, model, kind):
    exchange.to_diffusers(model(schedule=kind), tmp_path, 8)
    assert exchange.from_diffusers(tmp_path, "cpu").schedule.settings == getattr(NoiseSchedule, kind)(20).settings


@pytest.mark.parametrize(("sigma", "clip"), [("beta", True), ("posterior", False)])
def test_model_comes_back_as_it_was(tmp_path, model, rng, sigma, clip):
    ours = model(sigma=sigma, clip_x0=clip)
    exchange.to_diffusers(ours, tmp_path, 8)
    back = exchange.from_diffusers(tmp_path, "cpu")
    assert (back.sigma, back.clip_x0) == (sigma, clip)
    assert not any(module.training for module in back.modules())
    shape = (2, 1, 8, 8)
    assert torch.equal(sample(back, shape, generator=rng()), sample(ours, shape, generator=rng()))


def test_pipeline_has_the_files_of_diffusers_and_no_pickle(pipeline):
    assert files_of(pipeline) == FILES


@pytest.mark.parametrize(("size", "written"), [(8, 8), ((8, 12), [8, 12])])
def test_pipeline_draws_images_of_the_size_asked_for(diffusers, tmp_path, model, rng, size, written):
    exchange.to_diffusers(model(), tmp_path, size)
    assert json.loads((tmp_path / "unet" / "config.json").read_text(encoding="utf-8"))["sample_size"] == written
    images = draw(diffusers.DDPMPipeline.from_pretrained(tmp_path), 2, rng())
    assert images.shape == (2, 1, 8, 8 if size == 8 else 12)


def test_writing_again_replaces_the_earlier_pipeline(pipeline, model, rng):
    newer = model(schedule="cosine")
    exchange.to_diffusers(newer, pipeline, 8)
    assert files_of(pipeline) == FILES
    back = exchange.from_diffusers(pipeline, "cpu")
    assert_same_images(sample(back, (2, 1, 8, 8), generator=rng()), sample(newer, (2, 1, 8, 8), generator=rng()))


@pytest.mark.parametrize("size", [0, 2000])
def test_full_disk_leaves_the_earlier_pipeline_untouched(pipeline, model, size):
    before = {place: contents(pipeline / place) for place in ("unet", "scheduler")}
    with disk_that_fills_up_after(size), pytest.raises(CheckpointError, match=r"could not save .* is untouched"):
        exchange.to_diffusers(model(schedule="cosine"), pipeline, 8)
    assert {place: contents(pipeline / place) for place in ("unet", "scheduler")} == before


def test_folder_that_is_a_file_is_a_checkpoint_error(tmp_path, model):
    (tmp_path / "file").write_text("kept", encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"could not save .*file"):
        exchange.to_diffusers(model(), tmp_path / "file", 8)


def test_anything_but_a_unet_is_refused(tmp_path):
    with pytest.raises(TypeError, match=r"eps_model must be a UNet.*got Linear"):
        exchange.to_diffusers(DenoiseDiffusion(nn.Linear(1, 1), 5), tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_what_diffusers_cannot_express_is_refused_before_anything_is_written(tmp_path):
    unet = UNet(1, 8, (1, 2), (False, True), 1, n_groups=4, upsample="transposed")
    with pytest.raises(ValueError, match="diffusers knows only upsample='nearest'"):
        exchange.to_diffusers(DenoiseDiffusion(unet, 5), tmp_path / "new")
    assert not (tmp_path / "new").exists()


# In: the paper's model, as it was published


@pytest.fixture
def paper(diffusers, randomise, tmp_path):
    """A folder laid out as google/ddpm-cifar10-32 is, and the network in it: random weights, an eighth of the width."""
    changes = {"block_out_channels": [16, 32, 32, 32], "norm_num_groups": 8}
    theirs = randomise(diffusers.UNet2DModel(**{**published.UNET, **changes})).eval()
    folder = tmp_path / "paper"
    folder.mkdir()
    configs = {
        "config.json": published.UNET | changes,
        "scheduler_config.json": published.SCHEDULER,
        "model_index.json": published.INDEX,
    }
    for name, config in configs.items():
        (folder / name).write_text(
            json.dumps({"_class_name": published.CLASSES[name], "_diffusers_version": "0.0.4", **config}),
            encoding="utf-8",
        )
    return folder, theirs


def old_names(model):
    """The weights of a network, its attention layers named as diffusers did before version 0.15."""
    state = {}
    for name, tensor in model.state_dict().items():
        for new, old in published.OLD_NAMES.items():
            name = name.replace(f".{new}.", f".{old}.")
        state[name] = tensor
    assert sum("proj_attn" in name for name in state) == 2 * 6
    return state


def write_weights(folder, state):
    save_file(state, folder / "diffusion_pytorch_model.safetensors")


def test_paper_model_opens_as_published(paper):
    folder, theirs = paper
    write_weights(folder, old_names(theirs))
    ours = exchange.from_diffusers(folder, "cpu")
    assert (ours.schedule.settings, ours.sigma, ours.clip_x0) == (NoiseSchedule.linear().settings, "beta", True)
    xt, t = torch.randn(2, 3, 32, 32), torch.tensor([0, 731])
    with torch.no_grad():
        expected = theirs(xt, t).sample
        assert 0.05 < expected.std() < 50
        torch.testing.assert_close(ours.eps_model(xt, t), expected, rtol=1e-4, atol=1e-4)


def open_offline(names, cache):
    """What another process says, line by line, that opens models of the hub offline, with what lies in ``cache``."""
    code = f"""
from ddpm_lesson import checkpoint, exchange
for name in {names}:
    try:
        print(exchange.from_diffusers(name, "cpu").eps_model.settings["ch_mults"])
    except checkpoint.CheckpointError as error:
        print(error)
"""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HUB_CACHE": str(cache)}
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    return result.stdout.splitlines()


@pytest.mark.slow
def test_downloaded_model_opens_by_its_name_and_another_cannot_offline(paper, tmp_path):
    folder, theirs = paper
    write_weights(folder, old_names(theirs))
    place = tmp_path / "hub" / "models--google--ddpm-cifar10-32"
    (place / "refs").mkdir(parents=True)
    (place / "snapshots").mkdir()
    (place / "refs" / "main").write_text("0" * 40, encoding="utf-8")
    folder.rename(place / "snapshots" / ("0" * 40))
    opened, refused = open_offline(["google/ddpm-cifar10-32", "google/ddpm-church-256"], tmp_path / "hub")
    assert opened == "(1, 2, 2, 2)"
    assert refused.startswith(
        "'google/ddpm-church-256' is not a folder here, and the Hugging Face hub did not deliver it"
    )


# In: what cannot be opened


@pytest.mark.parametrize("name", ["no/such/folder", "/no/such/folder"])
def test_what_is_neither_folder_nor_name_is_refused(name):
    with pytest.raises(CheckpointError, match="is not a folder here"):
        exchange.from_diffusers(name)


def test_folder_without_pipeline_is_refused(tmp_path, model):
    checkpoint.save(model(), tmp_path)
    with pytest.raises(CheckpointError, match=r"is not a pipeline of diffusers: it lacks model_index\.json"):
        exchange.from_diffusers(tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[]", "3", "{}", '{"unet": null}', '{"unet": ["diffusers"]}', "\x00"])
def test_broken_index_is_named(pipeline, text):
    (pipeline / "model_index.json").write_text(text, encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"cannot read .*model_index\.json: it must list a unet and a scheduler"):
        exchange.from_diffusers(pipeline)


@pytest.mark.parametrize(
    ("part", "name", "expected"),
    [
        ("unet", "UNet2DConditionModel", "UNet2DModel"),
        ("unet", "UNetUnconditionalModel", "UNet2DModel"),
        ("scheduler", "PNDMScheduler", "DDPMScheduler or a DDIMScheduler"),
        ("scheduler", None, "DDPMScheduler or a DDIMScheduler"),
    ],
)
def test_other_kinds_of_parts_are_named(pipeline, part, name, expected):
    edit(pipeline / "model_index.json", **{part: ["diffusers", name]})
    with pytest.raises(CheckpointError, match=f"its {part} must be a {expected} to be opened here; got {name}"):
        exchange.from_diffusers(pipeline)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"prediction_type": "flow"}, r"prediction_type='flow' \(here it is epsilon, sample or v_prediction\)"),
        (
            {"variance_type": "learned", "thresholding": True},
            r"thresholding=True \(here estimates .*\); variance_type='learned' \(here variances are not learned\)",
        ),
        ({"variance_type": "learned_range"}, "variance_type='learned_range'"),
        ({"rescale_betas_zero_snr": True}, "prediction must be 'v' or 'x0' on a schedule that ends with alpha_bar = 0"),
        ({"beta_start": 0.5}, "beta_end must not be below beta_start"),
        ({"trained_betas": [0.1, 2.0]}, "betas must lie strictly between 0 and 1; got 2.0 at t = 1"),
    ],
    ids=str,
)
def test_other_schedulers_are_refused_by_name(pipeline, changes, message):
    edit(pipeline / "scheduler" / "scheduler_config.json", **changes)
    with pytest.raises(CheckpointError, match=f"cannot be opened here: .*{message}"):
        exchange.from_diffusers(pipeline)


def test_range_of_clipping_does_not_matter_without_clipping(pipeline):
    edit(pipeline / "scheduler" / "scheduler_config.json", clip_sample=False, clip_sample_range=2.0)
    assert not exchange.from_diffusers(pipeline, "cpu").clip_x0


@pytest.mark.parametrize("schedule", ["squaredcos_cap_v2", "laplace"])
def test_schedules_that_have_no_name_here_come_in_as_betas(diffusers, pipeline, schedule):
    edit(pipeline / "scheduler" / "scheduler_config.json", beta_schedule=schedule)
    expected = diffusers.DDPMScheduler(20, beta_schedule=schedule).betas
    torch.testing.assert_close(exchange.from_diffusers(pipeline, "cpu").beta, expected)


def test_settings_that_we_lack_are_named(pipeline):
    edit(pipeline / "unet" / "config.json", freq_shift=2, act_fn="gelu")
    with pytest.raises(
        CheckpointError, match=r"cannot be opened here: .*UNet2DModel: freq_shift=2 \(.*; act_fn='gelu' \("
    ):
        exchange.from_diffusers(pipeline)


@pytest.mark.parametrize("name", ["unet/config.json", "scheduler/scheduler_config.json", WEIGHTS])
@pytest.mark.parametrize("damage", ["missing", "empty", "cut"])
def test_damaged_pipelines_are_refused(pipeline, name, damage):
    file = pipeline / name
    data = file.read_bytes()
    file.unlink() if damage == "missing" else file.write_bytes(data[: {"empty": 0, "cut": len(data) // 2}[damage]])
    with pytest.raises(CheckpointError, match=r"cannot read the pipeline in .*pipeline") as error:
        exchange.from_diffusers(pipeline)
    assert "\n" not in str(error.value)


def test_weights_that_are_missing_are_not_drawn_at_random(pipeline):
    state = load_file(pipeline / WEIGHTS)
    del state["conv_out.weight"]
    save_file(state, pipeline / WEIGHTS)
    with pytest.raises(CheckpointError, match=r"of another architecture: missing keys such as conv_out\.weight"):
        exchange.from_diffusers(pipeline)


def test_weights_without_a_place_are_refused(pipeline):
    save_file({**load_file(pipeline / WEIGHTS), "extra": torch.zeros(2)}, pipeline / WEIGHTS)
    with pytest.raises(CheckpointError, match="of another architecture: unexpected keys such as extra"):
        exchange.from_diffusers(pipeline)


def test_weights_of_another_width_are_refused(pipeline):
    edit(pipeline / "unet" / "config.json", block_out_channels=[16, 32])
    with pytest.raises(CheckpointError, match="cannot read the pipeline"):
        exchange.from_diffusers(pipeline)


def test_pickle_in_weights_is_not_executed(paper, tmp_path):
    folder, _ = paper
    torch.save({"conv_in.weight": Trap(tmp_path / "trapped")}, folder / "diffusion_pytorch_model.bin")
    with pytest.raises(CheckpointError, match=r"diffusion_pytorch_model\.bin is a pickle, which can execute code"):
        exchange.from_diffusers(folder)
    assert not (tmp_path / "trapped").exists()


def test_unknown_device_is_refused(pipeline):
    with pytest.raises(ValueError, match="device must be one of"):
        exchange.from_diffusers(pipeline, "tpu9")


# In, to stay


def test_imported_pipeline_is_a_checkpoint_of_ours(pipeline, tmp_path, rng):
    exchange.import_diffusers(pipeline, tmp_path / "run")
    assert checkpoint.image_shape(tmp_path / "run") == (1, 8, 8)
    assert checkpoint.read_settings(tmp_path / "run")["imported_from"] == str(pipeline)
    ours, theirs = checkpoint.load(tmp_path / "run", "cpu"), exchange.from_diffusers(pipeline, "cpu")
    shape = (2, 1, 8, 8)
    assert torch.equal(sample(ours, shape, generator=rng()), sample(theirs, shape, generator=rng()))


def test_pipeline_that_does_not_say_the_size_of_its_images_can_be_imported(pipeline, tmp_path):
    edit(pipeline / "unet" / "config.json", sample_size=None)
    exchange.import_diffusers(pipeline, tmp_path / "run")
    with pytest.raises(CheckpointError, match="does not say the shape of its images"):
        checkpoint.image_shape(tmp_path / "run")


# Nothing is executed, and nothing outside of the folder is read


def test_a_pickle_is_refused_by_name(pipeline):
    weights = pipeline / "unet" / "diffusion_pytorch_model.safetensors"
    weights.rename(weights.with_suffix(".bin"))
    with pytest.raises(CheckpointError, match=r"diffusion_pytorch_model\.bin is a pickle, which can execute code"):
        exchange.from_diffusers(pipeline)


def test_a_pickle_beside_the_weights_is_never_opened(pipeline):
    (pipeline / "unet" / "diffusion_pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'false'\ntR.")
    exchange.from_diffusers(pipeline)


def test_weights_outside_of_the_folder_are_not_read(pipeline):
    index = pipeline / "unet" / "diffusion_pytorch_model.safetensors.index.json"
    index.write_text('{"weight_map": {"conv_in.weight": "../../elsewhere.safetensors"}}', encoding="utf-8")
    with pytest.raises(CheckpointError, match="points to weights elsewhere"):
        exchange.from_diffusers(pipeline)


@pytest.mark.parametrize("name", ["model_index.json", "unet/config.json", "unet/diffusion_pytorch_model.safetensors"])
def test_a_pipe_does_not_hang_an_import(pipeline, name):
    (pipeline / name).unlink()
    os.mkfifo(pipeline / name)
    with pytest.raises(CheckpointError, match="no ordinary file"):
        exchange.from_diffusers(pipeline)


@pytest.mark.parametrize("name", ["model_index.json", "unet/config.json", "scheduler/scheduler_config.json"])
@pytest.mark.parametrize("text", ["[" * 100_000, "{" * 5, " " * 2_000_000, "[]", "7", ""], ids=len)
def test_settings_that_are_none_are_a_checkpoint_error(pipeline, name, text):
    (pipeline / name).write_text(text, encoding="utf-8")
    with pytest.raises(CheckpointError):
        exchange.from_diffusers(pipeline)


def test_without_a_network_the_hub_is_asked_once(monkeypatch):
    from huggingface_hub import utils

    asked = []

    class Offline:
        def head(self, *arguments, **options):
            asked.append(arguments)
            raise ConnectionError("Name or service not known")

    monkeypatch.setattr(utils, "get_session", Offline)
    with pytest.raises(CheckpointError, match="'some/model' is not a folder here, and the Hugging Face hub did not"):
        exchange.from_diffusers("some/model")
    assert len(asked) == 1
