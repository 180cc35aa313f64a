"""What is saved comes back exactly, what is damaged is refused, and nothing that was saved is ever lost."""

import hashlib
import json
import shutil
from contextlib import contextmanager
from copy import copy
from dataclasses import asdict, replace
from functools import cache, partial
from itertools import islice
from pathlib import Path

import pytest
import torch
from torch import nn

from ddpm_lesson import checkpoint
from ddpm_lesson.checkpoint import CheckpointError
from ddpm_lesson.data import ImageDataset
from ddpm_lesson.diffusion import DenoiseDiffusion
from ddpm_lesson.sample import sample
from ddpm_lesson.schedule import NoiseSchedule
from ddpm_lesson.train import TrainState, build_diffusion, train
from ddpm_lesson.unet import UNet
from tests.tiny import TINY as WITHOUT_ATTENTION

pytestmark = pytest.mark.usefixtures("one_thread")
TINY = replace(WITHOUT_ATTENTION, is_attn=(False, True))
FILES = ["model.safetensors", "settings.json"]
RUN_FILES = ["model.safetensors", "settings.json", "training.safetensors"]


def tiny_unet(**settings) -> UNet:
    return UNet(1, 8, (1, 2), (False, True), 1, **{"n_groups": 4, **settings})


def tiny_diffusion(seed: int = 0, **settings) -> DenoiseDiffusion:
    """A model with random weights in every layer, so that its outputs depend on all of them."""
    diffusion = DenoiseDiffusion(tiny_unet(), **{"n_steps": 20, **settings})
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in diffusion.parameters():
            parameter.copy_(0.2 * torch.randn(parameter.shape, generator=generator))
    return diffusion.eval()


def samples(diffusion: DenoiseDiffusion) -> torch.Tensor:
    return sample(diffusion, (2, 1, 8, 8), generator=torch.Generator().manual_seed(0))


def contents(folder: Path) -> dict[str, str]:
    """Name and checksum of every file in ``folder``."""
    return {f.name: hashlib.sha256(f.read_bytes()).hexdigest() for f in sorted(folder.iterdir())}


def edit_settings(folder: Path, edit) -> None:
    file = folder / "settings.json"
    settings = json.loads(file.read_text())
    edit(settings)
    file.write_text(json.dumps(settings))


@pytest.fixture
def saved(tmp_path) -> Path:
    """A folder with a saved model."""
    checkpoint.save(tiny_diffusion(), tmp_path / "saved")
    return tmp_path / "saved"


# There and back


@pytest.mark.parametrize(
    "settings",
    [
        *({"schedule": kind} for kind in ("linear", "cosine", "quadratic", "sigmoid")),
        {"n_steps": None, "schedule": NoiseSchedule.linear(7, 1e-3, 0.5)},
        {"n_steps": None, "schedule": NoiseSchedule.from_betas([0.1, 0.2, 1 / 3, 0.7])},
        {"n_steps": None, "schedule": NoiseSchedule.cosine(9, s=0.02, beta_max=0.9)},
        {"sigma": "posterior", "clip_x0": False},
        {"sigma": "posterior", "clip_x0": True},
        {"sigma": "beta", "clip_x0": False},
    ],
    ids=str,
)
def test_loaded_model_draws_the_same_samples(tmp_path, settings):
    diffusion = tiny_diffusion(**settings)
    checkpoint.save(diffusion, tmp_path)
    loaded = checkpoint.load(tmp_path, "cpu")
    assert torch.equal(samples(loaded), samples(diffusion))
    assert torch.equal(loaded.schedule.to(torch.float64).alpha_bar, diffusion.schedule.to(torch.float64).alpha_bar)
    assert (loaded.sigma, loaded.clip_x0) == (diffusion.sigma, diffusion.clip_x0)


@pytest.mark.parametrize(
    "settings",
    [
        {"n_heads": 2, "dropout": 0.5},
        {"norm_eps": 1e-3, "final_groups": 2},
        {"downsample": "symmetric", "upsample": "transposed", "narrow": "before"},
    ],
    ids=str,
)
def test_every_setting_of_the_network_comes_back(tmp_path, settings):
    diffusion = DenoiseDiffusion(tiny_unet(**settings), 20)
    checkpoint.save(diffusion, tmp_path)
    assert checkpoint.load(tmp_path, "cpu").eps_model.settings == diffusion.eps_model.settings


def test_loaded_model_is_ready_to_sample_from(saved):
    assert not any(module.training for module in checkpoint.load(saved, "cpu").modules())


def test_saving_leaves_the_model_as_it_was(tmp_path):
    diffusion = tiny_diffusion().train()
    before = samples(diffusion)
    checkpoint.save(diffusion, tmp_path)
    assert diffusion.training
    assert torch.equal(samples(diffusion), before)


def test_saving_again_replaces_the_earlier_model(saved):
    newer = tiny_diffusion(seed=1, schedule="cosine")
    checkpoint.save(newer, saved)
    assert torch.equal(samples(checkpoint.load(saved, "cpu")), samples(newer))


def test_folder_may_be_named_by_text_and_is_created(tmp_path):
    folder = tmp_path / "some" / "where"
    checkpoint.save(tiny_diffusion(), str(folder))
    assert checkpoint.load(str(folder), "cpu").n_steps == 20


def test_settings_are_readable_json(tmp_path):
    checkpoint.save(tiny_diffusion(), tmp_path, image_shape=(1, 8, 8), note="Grüße")
    text = (tmp_path / "settings.json").read_text()
    settings = json.loads(text)
    assert settings["model"]["ch_mults"] == [1, 2]
    assert settings["diffusion"]["schedule"] == {
        "kind": "linear",
        "n_steps": 20,
        "beta_start": 1e-4,
        "beta_end": 0.02,
    }
    assert (settings["image_shape"], settings["note"]) == ([1, 8, 8], "Grüße")
    assert text.count("\n") > 10


def test_files_hold_tensors_and_text_but_no_pickle(trained):
    assert sorted(contents(trained)) == RUN_FILES
    for file in trained.glob("*.safetensors"):
        data = file.read_bytes()
        length = int.from_bytes(data[:8], "little")
        header = json.loads(data[8 : 8 + length])
        tensors = {name: entry for name, entry in header.items() if name != "__metadata__"}
        assert len(data) == 8 + length + max(end for _, end in (t["data_offsets"] for t in tensors.values()))


def test_saving_anything_but_a_unet_is_refused(tmp_path):
    with pytest.raises(TypeError, match=r"eps_model must be a UNet.*got Linear"):
        checkpoint.save(DenoiseDiffusion(nn.Linear(1, 1), 5), tmp_path / "new")
    assert not (tmp_path / "new").exists()


# Loading what is missing, foreign or damaged


class Trap:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, file: Path):
        self.file = file

    def __reduce__(self):
        return Path.touch, (self.file,)


@pytest.mark.parametrize("name", ["model.safetensors", "training.safetensors"])
def test_pickle_in_disguise_is_refused_and_not_executed(trained, tmp_path, name):
    torch.save({"weight": Trap(tmp_path / "trapped")}, trained / name)
    load = checkpoint.load if name == "model.safetensors" else partial(checkpoint.load_training, start())
    with pytest.raises(CheckpointError, match=name):
        load(trained)
    assert not (tmp_path / "trapped").exists()


def test_the_trap_would_have_caught_a_careless_loader(tmp_path):
    torch.save({"weight": Trap(tmp_path / "trapped")}, tmp_path / "model.pt")
    torch.load(tmp_path / "model.pt", weights_only=False)
    assert (tmp_path / "trapped").exists()


def test_missing_folder_is_named_with_what_is_expected(tmp_path):
    with pytest.raises(CheckpointError, match=r"settings\.json and model\.safetensors") as error:
        checkpoint.load(tmp_path / "nowhere")
    assert str(tmp_path / "nowhere") in str(error.value)


def test_folder_without_checkpoint_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="no checkpoint at"):
        checkpoint.load(tmp_path)


@pytest.fixture
def shipped(tmp_path, monkeypatch) -> Path:
    """A folder of shipped weights with ``digits`` and ``mnist``."""
    for i, name in enumerate(("digits", "mnist")):
        checkpoint.save(tiny_diffusion(seed=i), tmp_path / "assets" / name)
    monkeypatch.setattr(checkpoint.files, "assets_folder", lambda: tmp_path / "assets")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "assets"


def test_shipped_weights_are_loaded_by_name(shipped):
    assert torch.equal(samples(checkpoint.load("mnist", "cpu")), samples(tiny_diffusion(seed=1)))


def test_shipped_weights_are_found_beside_a_folder_of_their_name(shipped):
    Path("digits").mkdir()
    assert checkpoint.load("digits", "cpu").n_steps == 20


def test_unknown_name_is_answered_with_near_ones(shipped):
    with pytest.raises(CheckpointError, match=r"did you mean 'digits'.*shipped weights: digits, mnist"):
        checkpoint.load("digit")


@pytest.mark.parametrize("text", ["", "{", "\x00", "not json", '{"format": "ddpm_lesson 1"'])
def test_broken_settings_are_named(saved, text):
    (saved / "settings.json").write_text(text)
    with pytest.raises(CheckpointError, match=r"cannot read .*settings\.json"):
        checkpoint.load(saved)


def test_settings_that_are_no_text_are_named(saved):
    (saved / "settings.json").write_bytes(b"\xff\xfe\x80")
    with pytest.raises(CheckpointError, match=r"cannot read .*settings\.json"):
        checkpoint.load(saved)


@pytest.mark.parametrize("text", ["{}", "[]", "3", "null", '{"format": "other 2"}', '{"_class_name": "UNet2DModel"}'])
def test_foreign_settings_are_refused(saved, text):
    (saved / "settings.json").write_text(text)
    with pytest.raises(CheckpointError, match=r"not of this project.*'ddpm_lesson 1'"):
        checkpoint.load(saved)


EDITS = {
    "no model": lambda s: s.pop("model"),
    "no diffusion": lambda s: s.pop("diffusion"),
    "no schedule": lambda s: s["diffusion"].pop("schedule"),
    "no kind of schedule": lambda s: s["diffusion"]["schedule"].pop("kind"),
    "unknown kind of schedule": lambda s: s["diffusion"]["schedule"].update(kind="from_settings"),
    "unknown setting of the model": lambda s: s["model"].update(colour="red"),
    "unknown setting of the diffusion": lambda s: s["diffusion"].update(colour="red"),
    "unknown setting of the schedule": lambda s: s["diffusion"]["schedule"].update(colour="red"),
    "model of another type": lambda s: s.update(model=[1, 2]),
    "diffusion of another type": lambda s: s.update(diffusion=5),
    "schedule of another type": lambda s: s["diffusion"].update(schedule="linear"),
    "betas that are no numbers": lambda s: s["diffusion"].update(schedule={"kind": "from_betas", "betas": ["a"]}),
    "width below one": lambda s: s["model"].update(n_channels=0),
    "width that is text": lambda s: s["model"].update(n_channels="8"),
    "levels that do not fit": lambda s: s["model"].update(is_attn=[True]),
    "unknown sigma": lambda s: s["diffusion"].update(sigma="big"),
    "beta out of range": lambda s: s["diffusion"]["schedule"].update(beta_end=2),
}


@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS)
def test_settings_that_describe_no_model_are_refused(saved, edit):
    edit_settings(saved, edit)
    with pytest.raises(CheckpointError, match=r"settings\.json does not describe a model"):
        checkpoint.load(saved)


@pytest.mark.parametrize(("part", "key"), [("diffusion", "sigma"), ("diffusion", "clip_x0"), ("model", "norm_eps")])
def test_settings_left_out_take_their_defaults(saved, part, key):
    edit_settings(saved, lambda s: s[part].pop(key))
    loaded = checkpoint.load(saved, "cpu")
    defaults = {"sigma": "beta", "clip_x0": True, "norm_eps": 1e-6}
    value = loaded.eps_model.settings[key] if part == "model" else getattr(loaded, key)
    assert value == defaults[key]


@pytest.mark.parametrize("kept", [0, 4, 40, 0.5, 0.999])
def test_truncated_weights_are_named(saved, kept):
    file = saved / "model.safetensors"
    data = file.read_bytes()
    file.write_bytes(data[: kept if isinstance(kept, int) else int(kept * len(data))])
    with pytest.raises(CheckpointError, match=r"cannot read .*model\.safetensors"):
        checkpoint.load(saved)


def test_missing_weights_are_named(saved):
    (saved / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"cannot read .*model\.safetensors"):
        checkpoint.load(saved)


def test_weights_of_another_width_are_named_with_both_shapes(saved):
    checkpoint.save(DenoiseDiffusion(UNet(1, 16, (1, 2), (False, True), 1, n_groups=4), 20), saved / "wide")
    shutil.copy(saved / "wide" / "model.safetensors", saved)
    with pytest.raises(CheckpointError, match=r"down\.0\.res\.conv1\.bias is \(16,\) and should be \(8,\)"):
        checkpoint.load(saved)


@pytest.mark.parametrize(
    ("is_attn", "problem"),
    [((False, False), r"it lacks down\.2\.attn\.norm\.bias"), ((True, True), r"it holds down\.0\.attn\.norm\.bias")],
)
def test_weights_of_another_architecture_are_named(saved, is_attn, problem):
    checkpoint.save(DenoiseDiffusion(UNet(1, 8, (1, 2), is_attn, 1, n_groups=4), 20), saved / "other")
    shutil.copy(saved / "other" / "model.safetensors", saved)
    with pytest.raises(CheckpointError, match=rf"model\.safetensors is of another architecture: {problem}"):
        checkpoint.load(saved)


def test_unknown_device_is_refused(saved):
    with pytest.raises(ValueError, match="device must be one of"):
        checkpoint.load(saved, "tpu9")


# A training run


def images() -> ImageDataset:
    pixels = torch.randint(0, 256, (32, 1, 8, 8), generator=torch.Generator().manual_seed(0))
    return ImageDataset(pixels.to(torch.uint8))


def start(**changes) -> TrainState:
    return TrainState(replace(TINY, **changes), (1, 8, 8), "cpu")


@cache
def trained_state(steps: int) -> TrainState:
    """A run after that many steps; to look at, not to change."""
    state = start()
    list(islice(train(state, images()), steps))
    return state


def everything(state: TrainState) -> dict[str, torch.Tensor]:
    """Weights, their average, and Adam's moments."""
    moments = state.optimizer.state_dict()["state"]
    return {
        **{f"model.{k}": v for k, v in state.diffusion.eps_model.state_dict().items()},
        **{f"ema.{k}": v for k, v in state.ema.state_dict().items()},
        **{f"adam.{i}.{k}": v for i, entry in moments.items() for k, v in entry.items()},
    }


def assert_same_state(a: TrainState, b: TrainState) -> None:
    assert (a.step, a.scaler) == (b.step, b.scaler)
    left, right = everything(a), everything(b)
    assert left.keys() == right.keys()
    assert [name for name in left if not torch.equal(left[name], right[name])] == []


@pytest.fixture
def trained(tmp_path) -> Path:
    """The folder of a run that was saved at step 5."""
    checkpoint.save_training(trained_state(5), tmp_path / "run")
    return tmp_path / "run"


def test_every_piece_of_a_run_comes_back(tmp_path):
    state = copy(trained_state(5))
    state.scaler = {"scale": 65536.0, "growth_factor": 2.0, "growth_interval": 2000, "_growth_tracker": 5}
    checkpoint.save_training(state, tmp_path)
    resumed = start()
    checkpoint.load_training(resumed, tmp_path)
    assert_same_state(resumed, state)
    assert len([name for name in everything(resumed) if name.endswith("exp_avg_sq")]) > 10


def test_resumed_training_equals_uninterrupted_training(trained):
    resumed, uninterrupted = start(), trained_state(7)
    checkpoint.load_training(resumed, trained)
    list(islice(train(resumed, images()), 2))
    assert_same_state(resumed, uninterrupted)


def test_run_that_never_stepped_can_be_resumed(tmp_path):
    checkpoint.save_training(start(), tmp_path)
    resumed = start()
    checkpoint.load_training(resumed, tmp_path)
    list(islice(train(resumed, images()), 5))
    assert_same_state(resumed, trained_state(5))


def test_saving_a_run_does_not_disturb_it(tmp_path):
    state = start()
    for _ in islice(train(state, images()), 5):
        checkpoint.save_training(state, tmp_path)
    assert_same_state(state, trained_state(5))


def test_folder_of_a_run_holds_the_averaged_model(tmp_path):
    state = trained_state(5)
    checkpoint.save_training(state, tmp_path)
    assert torch.equal(samples(checkpoint.load(tmp_path, "cpu")), samples(state.averaged()))
    weights = checkpoint.load(tmp_path, "cpu").eps_model.state_dict()
    assert not torch.equal(weights["final.weight"], state.diffusion.eps_model.state_dict()["final.weight"])


def test_settings_of_a_run_come_back(trained):
    assert checkpoint.load_config(trained) == TINY
    settings = checkpoint.read_settings(trained)
    assert (settings["step"], settings["image_shape"]) == (5, [1, 8, 8])


@pytest.mark.parametrize(
    "edit",
    [
        lambda s: s.pop("training"),
        lambda s: s.update(training=None),
        lambda s: s["training"].update(colour="red"),
        lambda s: s["training"].update(batch_size=0),
        lambda s: s["training"].update(is_attn=True),
    ],
)
def test_settings_that_describe_no_run_are_refused(trained, edit):
    edit_settings(trained, edit)
    with pytest.raises(CheckpointError, match=r"settings\.json does not describe a training run"):
        checkpoint.load_config(trained)


def test_model_alone_is_no_run(saved):
    with pytest.raises(CheckpointError, match=r"cannot read .*training\.safetensors"):
        checkpoint.load_training(start(), saved)


@pytest.mark.parametrize("changes", [{"n_channels": 16}, {"n_blocks": 2}, {"is_attn": (True, True)}])
def test_run_of_another_architecture_is_refused(trained, changes):
    with pytest.raises(CheckpointError, match=r"training\.safetensors is of another architecture"):
        checkpoint.load_training(start(**changes), trained)


@pytest.mark.parametrize("changes", [{"n_heads": 2}, {"n_steps": 30}, {"schedule": "cosine"}])
def test_run_with_another_model_of_the_same_shapes_is_refused(trained, changes):
    with pytest.raises(CheckpointError, match=next(iter(changes))):
        checkpoint.load_training(start(**changes), trained)


def test_run_without_its_step_is_refused(trained):
    tensors, _ = checkpoint.read_tensors(trained / "training.safetensors")
    (trained / "training.safetensors").write_bytes(checkpoint.tensor_bytes(tensors))
    with pytest.raises(CheckpointError, match=r"training\.safetensors"):
        checkpoint.load_training(start(), trained)


def test_run_without_all_of_adams_moments_is_refused(trained):
    tensors, progress = checkpoint.read_tensors(trained / "training.safetensors")
    del tensors["optimizer.final.weight.exp_avg"]
    (trained / "training.safetensors").write_bytes(checkpoint.tensor_bytes(tensors, progress))
    with pytest.raises(CheckpointError, match=r"final\.weight"):
        checkpoint.load_training(start(), trained)


def test_data_set_given_as_a_path_can_be_saved(tmp_path):
    checkpoint.save_training(start(data=tmp_path / "images"), tmp_path)
    assert str(checkpoint.load_config(tmp_path).data) == str(tmp_path / "images")


# When writing fails


@contextmanager
def disk_that_fills_up_after(size: int):
    """No file can grow beyond ``size`` bytes, as on a disk that is full."""
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))  # Python ignores the signal, so writing raises an OSError
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("size", [0, 1, 10_000])
def test_full_disk_leaves_the_earlier_model_untouched(saved, size):
    before, newer = contents(saved), tiny_diffusion(seed=1)
    with disk_that_fills_up_after(size), pytest.raises(CheckpointError, match=r"could not save .* is untouched"):
        checkpoint.save(newer, saved)
    assert contents(saved) == before


@pytest.mark.parametrize("size", [0, 1, 10_000])
def test_full_disk_leaves_the_earlier_run_untouched(trained, size):
    before, later = contents(trained), trained_state(7)
    with disk_that_fills_up_after(size), pytest.raises(CheckpointError, match=r"could not save .* is untouched"):
        checkpoint.save_training(later, trained)
    assert contents(trained) == before


def test_full_disk_leaves_nothing_half_written_in_a_new_folder(tmp_path):
    with disk_that_fills_up_after(10_000), pytest.raises(CheckpointError):
        checkpoint.save(tiny_diffusion(), tmp_path / "new")
    assert contents(tmp_path / "new") == {}


def test_run_can_be_saved_once_there_is_room_again(trained):
    later = trained_state(7)
    with disk_that_fills_up_after(10_000), pytest.raises(CheckpointError):
        checkpoint.save_training(later, trained)
    checkpoint.save_training(later, trained)
    resumed = start()
    checkpoint.load_training(resumed, trained)
    assert_same_state(resumed, later)


def refuse_to_write(monkeypatch, name: str) -> None:
    """Make moving the file called ``name`` into place fail."""
    replace_file = checkpoint.files.os.replace

    def refuse(source, target):
        if Path(target).name == name:
            raise OSError(28, "No space left on device")
        replace_file(source, target)

    monkeypatch.setattr(checkpoint.files.os, "replace", refuse)


@pytest.mark.parametrize("name", RUN_FILES)
def test_failure_at_any_file_leaves_a_run_that_can_go_on(trained, monkeypatch, name):
    refuse_to_write(monkeypatch, name)
    with pytest.raises(CheckpointError, match=f"could not save .*{name}.*No space left"):
        checkpoint.save_training(trained_state(7), trained)
    assert sorted(contents(trained)) == RUN_FILES
    resumed = start()
    checkpoint.load_training(resumed, trained)
    assert resumed.step in (5, 7)
    assert_same_state(resumed, trained_state(resumed.step))


@contextmanager
def disk_without_room_for_settings(monkeypatch):
    write_bytes = Path.write_bytes

    def refuse(file, *args, **kwargs):
        if file.name.startswith("settings.json"):
            raise OSError(28, "No space left on device")
        return write_bytes(file, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", refuse)
        yield


def test_save_that_fails_at_the_settings_leaves_the_earlier_model(saved, monkeypatch):
    before = contents(saved)
    other = build_diffusion(replace(TINY, n_channels=16), 1)
    with disk_without_room_for_settings(monkeypatch), pytest.raises(CheckpointError, match=r"settings\.json"):
        checkpoint.save(other, saved)
    assert contents(saved) == before


def test_saving_into_a_file_is_a_checkpoint_error(tmp_path):
    (tmp_path / "file").write_text("kept")
    with pytest.raises(CheckpointError, match="file"):
        checkpoint.save(tiny_diffusion(), tmp_path / "file")


def test_config_of_a_run_is_stored_field_by_field(trained):
    stored = checkpoint.read_settings(trained)["training"]
    assert stored.keys() == asdict(TINY).keys()
