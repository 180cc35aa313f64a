"""What is saved comes back exactly, what is damaged is refused, and nothing that was saved is ever lost."""

import hashlib
import json
import os
import re
import shutil
from contextlib import contextmanager
from copy import copy
from dataclasses import asdict, replace
from functools import cache, partial
from itertools import islice
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from ddpm_lesson import checkpoint
from ddpm_lesson.checkpoint import CheckpointError
from ddpm_lesson.data import ImageDataset
from ddpm_lesson.diffusion import DenoiseDiffusion
from ddpm_lesson.sample import sample
from ddpm_lesson.schedule import NoiseSchedule
from ddpm_lesson.train import TrainState, build_diffusion, train
from ddpm_lesson.unet import UNet
from tests.states import assert_same_state, everything
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
    """Edit settings and turn the model into one of the first format, which had no checksums."""
    tensors, _ = checkpoint.read_tensors(folder / "model.safetensors")
    save_file(tensors, folder / "model.safetensors")
    settings = checkpoint.read_settings(folder) | {"format": "ddpm_lesson 1"}
    edit(settings)
    (folder / "settings.json").write_text(json.dumps(settings), "utf-8")


def edit_run(folder: Path, edit) -> None:
    """Edit the settings that a run carries, and sign them again."""
    tensors, about = checkpoint.read_tensors(folder / "training.safetensors")
    settings = json.loads(about["settings"])
    edit(settings)
    del settings["sha256"]
    (folder / "training.safetensors").write_bytes(
        checkpoint.tensor_bytes(tensors, {"settings": checkpoint.disk.to_json(settings)})
    )
    (folder / "settings.json").unlink()


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
    text = (tmp_path / "settings.json").read_text(encoding="utf-8")
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


DEEP = ["[" * 100_000, '{"a":' * 100_000]


@pytest.mark.parametrize(
    "text",
    ["", "{", "\x00", "not json", '{"format": "ddpm_lesson 1"', *DEEP, " " * 10_000_001],
    ids=["nothing", "bracket", "zero", "words", "cut off", "deep lists", "deep objects", "too large"],
)
def test_broken_settings_are_named(saved, text):
    (saved / "settings.json").write_text(text, encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"cannot read .*settings\.json"):
        checkpoint.load(saved)


def test_settings_that_are_no_text_are_named(saved):
    (saved / "settings.json").write_bytes(b"\xff\xfe\x80")
    with pytest.raises(CheckpointError, match=r"cannot read .*settings\.json"):
        checkpoint.load(saved)


@pytest.mark.parametrize("text", ["[]", "3", "null"])
def test_settings_that_are_no_object_are_refused(saved, text):
    (saved / "settings.json").write_text(text, encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"not of this project: it must hold a JSON object"):
        checkpoint.load(saved)


@pytest.mark.parametrize("text", ["{}", '{"format": "ddpm_lesson 3"}', '{"_class_name": "UNet2DModel"}'])
def test_foreign_settings_and_other_versions_are_named(saved, text):
    (saved / "settings.json").write_text(text, encoding="utf-8")
    found = re.escape(repr(json.loads(text).get("format")))
    with pytest.raises(CheckpointError, match=rf"not of this project, .*'ddpm_lesson 2'; got {found}"):
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
    weights = checkpoint.load(tmp_path, "cpu").eps_model.state_dict()
    assert all(map(torch.equal, weights.values(), state.ema.module.state_dict().values()))
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
    edit_run(trained, edit)
    with pytest.raises(CheckpointError, match=r"training\.safetensors does not describe a training run"):
        checkpoint.open_run(trained)


@pytest.mark.parametrize("steps", [0, 5])
def test_run_of_the_first_format_goes_on(tmp_path, steps):
    state = trained_state(steps)
    checkpoint.save_training(state, tmp_path)
    edit_settings(tmp_path, lambda s: s.pop("scaler"))
    tensors, _ = checkpoint.read_tensors(tmp_path / "training.safetensors")
    save_file(tensors, tmp_path / "training.safetensors", {"step": str(steps), "scaler": "{}"})
    resumed = start()
    checkpoint.load_training(resumed, tmp_path)
    assert_same_state(resumed, state)


def test_model_alone_is_no_run(saved):
    with pytest.raises(CheckpointError, match=r"cannot read .*training\.safetensors"):
        checkpoint.load_training(start(), saved)


OTHER_RUNS = {
    **{"n_channels": 16, "n_blocks": 2, "is_attn": (True, True), "n_heads": 2, "n_steps": 30, "schedule": "cosine"},
    **{"batch_size": 8, "seed": 1, "flip": True, "image_size": 8},
}


@pytest.mark.parametrize("name", OTHER_RUNS)
def test_setting_that_would_have_changed_the_steps_already_taken_is_refused_with_both_values(trained, name):
    mine, theirs = (re.escape(repr(value)) for value in (OTHER_RUNS[name], getattr(TINY, name)))
    with pytest.raises(CheckpointError, match=f"of another run: {name} is {theirs} there and {mine} here"):
        checkpoint.load_training(start(**{name: OTHER_RUNS[name]}), trained)


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
    replace_file = checkpoint.disk.os.replace

    def refuse(source, target):
        if Path(target).name == name:
            raise OSError(28, "No space left on device")
        replace_file(source, target)

    monkeypatch.setattr(checkpoint.disk.os, "replace", refuse)


@pytest.mark.parametrize("name", [*RUN_FILES, "training.previous.safetensors"])
def test_failure_at_any_file_leaves_a_run_that_can_go_on(trained, monkeypatch, name):
    refuse_to_write(monkeypatch, name)
    with pytest.raises(CheckpointError, match=f"could not save .*{name}.*No space left"):
        checkpoint.save_training(trained_state(7), trained)
    assert not list(trained.glob("*.unfinished"))
    resumed = start()
    checkpoint.load_training(resumed, trained)
    assert resumed.step in (5, 7)
    assert_same_state(resumed, trained_state(resumed.step))


@contextmanager
def disk_without_room_for_settings(monkeypatch):
    write_safely = checkpoint.disk.write_safely

    def refuse(file, contents):
        if file.name.startswith("settings.json"):
            raise OSError(28, "No space left on device")
        write_safely(file, contents)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint.disk, "write_safely", refuse)
        yield


def test_save_that_fails_at_the_settings_leaves_the_earlier_model(saved, monkeypatch):
    before = contents(saved)
    other = build_diffusion(replace(TINY, n_channels=16), 1)
    with disk_without_room_for_settings(monkeypatch), pytest.raises(CheckpointError, match=r"settings\.json"):
        checkpoint.save(other, saved)
    assert contents(saved) == before


def test_saving_into_a_file_is_a_checkpoint_error(tmp_path):
    (tmp_path / "file").write_text("kept", encoding="utf-8")
    with pytest.raises(CheckpointError, match="file"):
        checkpoint.save(tiny_diffusion(), tmp_path / "file")


def test_config_of_a_run_is_stored_field_by_field(trained):
    stored = checkpoint.read_settings(trained)["training"]
    assert stored.keys() == asdict(TINY).keys()


# A run is one thing


@pytest.fixture
def twice(tmp_path) -> Path:
    """The folder of a run that was saved at step 3 and at step 5."""
    for steps in (3, 5):
        checkpoint.save_training(trained_state(steps), tmp_path / "run")
    return tmp_path / "run"


def test_last_two_checkpoints_are_kept(twice):
    steps = [
        int(checkpoint.read_tensors(twice / name)[1]["step"]) for name in (checkpoint.TRAINING, checkpoint.PREVIOUS)
    ]
    assert steps == [5, 3]


def flip_bit(file: Path, place: float = 0.9) -> None:
    data = bytearray(file.read_bytes())
    data[int(place * len(data))] ^= 1
    file.write_bytes(data)


def test_newest_whole_checkpoint_is_taken_and_it_says_why(twice):
    flip_bit(twice / "training.safetensors")
    resumed = start()
    saved = checkpoint.load_training(resumed, twice)
    assert_same_state(resumed, trained_state(3))
    assert re.search(r"training\.safetensors is damaged: its checksum", saved.passed_over)


def test_run_without_any_whole_checkpoint_names_what_is_wrong_with_both(twice):
    flip_bit(twice / "training.safetensors")
    (twice / "training.previous.safetensors").write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"training\.safetensors is damaged.*cannot read .*training\.previous"):
        checkpoint.open_run(twice)


def resume_and_heal(folder: Path) -> tuple[TrainState, bool]:
    state = start()
    saved = checkpoint.load_training(state, folder)
    return state, checkpoint.heal(state, saved)


@pytest.mark.parametrize("name", RUN_FILES)
@pytest.mark.parametrize("how", ["gone", "flipped", "of another step"])
def test_run_with_one_spoilt_file_is_seen_and_healed(twice, tmp_path, name, how):
    if how == "gone":
        (twice / name).unlink()
    elif how == "flipped":
        flip_bit(twice / name)
    else:
        checkpoint.save_training(trained_state(7), tmp_path / "other")
        shutil.copy(tmp_path / "other" / name, twice)
    state, healed = resume_and_heal(twice)
    assert healed
    steps = {int(checkpoint.read_tensors(twice / f)[1]["step"]) for f in ("training.safetensors", "model.safetensors")}
    assert steps | {checkpoint.read_settings(twice)["step"]} == {state.step}
    weights = checkpoint.load(twice, "cpu").eps_model.state_dict()
    assert all(map(torch.equal, weights.values(), state.ema.module.state_dict().values()))
    assert not resume_and_heal(twice)[1]


def test_healing_keeps_the_only_whole_checkpoint_until_the_new_one_is_there(twice, monkeypatch):
    flip_bit(twice / "training.safetensors")
    refuse_to_write(monkeypatch, "training.safetensors")
    with pytest.raises(CheckpointError):
        resume_and_heal(twice)
    assert checkpoint.open_run(twice).step == 3


@pytest.mark.parametrize("name", ["training.safetensors", "training.previous.safetensors"])
def test_any_file_of_a_run_keeps_a_model_from_being_saved_over_it(twice, name):
    for other in set(os.listdir(twice)) - {name}:
        (twice / other).unlink()
    with pytest.raises(FileExistsError, match=rf"already holds a run or a model \({name}\)"):
        checkpoint.save(tiny_diffusion(), twice)


def test_weights_of_another_model_of_the_same_shapes_are_refused(saved, tmp_path):
    checkpoint.save(tiny_diffusion(schedule="cosine"), tmp_path / "other")
    shutil.copy(tmp_path / "other" / "model.safetensors", saved)
    with pytest.raises(CheckpointError, match=r"model\.safetensors is of another model than .*settings\.json"):
        checkpoint.load(saved)


# Damage, bit by bit


@pytest.mark.parametrize("place", [0.3, 0.6, 0.99])
def test_one_flipped_bit_in_the_weights_is_found(saved, place):
    flip_bit(saved / "model.safetensors", place)
    with pytest.raises(CheckpointError, match=r"model\.safetensors is damaged"):
        checkpoint.load(saved)


def test_edited_settings_are_found(saved):
    file = saved / "settings.json"
    file.write_text(file.read_text(encoding="utf-8").replace("0.02", "0.03"), encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"settings\.json is damaged, or was edited"):
        checkpoint.load(saved)


def test_settings_that_lost_their_checksum_are_found(saved):
    settings = json.loads((saved / "settings.json").read_text(encoding="utf-8"))
    del settings["sha256"]
    (saved / "settings.json").write_text(json.dumps(settings), encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"settings\.json is damaged"):
        checkpoint.load(saved)


def test_checksum_of_weights_without_their_own_may_stand_in_the_settings(saved):
    tensors, _ = checkpoint.read_tensors(saved / "model.safetensors")
    edit_settings(saved, lambda s: s.update(model_sha256=checkpoint.disk.tensor_sum(tensors, {})))
    checkpoint.load(saved, "cpu")
    flip_bit(saved / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"model\.safetensors is damaged"):
        checkpoint.load(saved)


@pytest.mark.parametrize(
    "name", sorted(f.parent.name for f in checkpoint.find("digits").parent.glob("*/model.safetensors"))
)
def test_shipped_weights_carry_a_checksum(tmp_path, name):
    shutil.copytree(checkpoint.find(name), tmp_path / name)
    checkpoint.load_any(tmp_path / name, "cpu")
    flip_bit(tmp_path / name / "model.safetensors", 0.7)
    with pytest.raises(CheckpointError, match=r"model\.safetensors is damaged"):
        checkpoint.load_any(tmp_path / name, "cpu")


@pytest.mark.parametrize("dtype", [torch.int32, torch.float64, torch.bool])
def test_weights_of_another_type_are_refused_with_both(saved, dtype):
    tensors, _ = checkpoint.read_tensors(saved / "model.safetensors")
    tensors["final.weight"] = tensors["final.weight"].to(dtype)
    (saved / "model.safetensors").write_bytes(checkpoint.tensor_bytes(tensors))
    with pytest.raises(CheckpointError, match=rf"final\.weight holds {dtype} and should hold torch\.float32"):
        checkpoint.load(saved)


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_weights_that_are_not_finite_are_refused(saved, value):
    tensors, _ = checkpoint.read_tensors(saved / "model.safetensors")
    tensors["final.weight"][0] = value
    (saved / "model.safetensors").write_bytes(checkpoint.tensor_bytes(tensors))
    with pytest.raises(CheckpointError, match=r"final\.weight holds numbers that are not finite"):
        checkpoint.load(saved)


TOO_LARGE = {
    "n_channels": lambda s: s["model"].update(n_channels=200_000),
    "n_blocks": lambda s: s["model"].update(n_blocks=10**9),
    "n_steps": lambda s: s["diffusion"]["schedule"].update(n_steps=10**8),
    "ch_mults": lambda s: s["model"].update(ch_mults=[1, 10**6]),
}


@pytest.mark.parametrize("name", TOO_LARGE)
def test_settings_without_bounds_are_refused(saved, name):
    edit_settings(saved, TOO_LARGE[name])
    with pytest.raises(CheckpointError, match=f"does not describe a model: {name} must be at most"):
        checkpoint.load(saved)


def test_network_larger_than_its_weights_is_refused_before_it_takes_memory(saved, monkeypatch):
    edit_settings(saved, lambda s: s["model"].update(n_channels=8_000, n_groups=8))  # 600 GB
    with pytest.raises(CheckpointError, match=r"\(8,\) and should be \(8000,\)"):
        checkpoint.load(saved)


def test_image_shape_without_bounds_is_refused(saved):
    edit_settings(saved, lambda s: s.update(image_shape=[1, 10**6, 10**6]))
    with pytest.raises(CheckpointError, match="image_shape is"):
        checkpoint.image_shape(saved)


def test_settings_may_begin_with_a_byte_order_mark(saved):
    file = saved / "settings.json"
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())
    assert checkpoint.load(saved, "cpu").n_steps == 20


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
@pytest.mark.parametrize("name", FILES)
def test_pipe_in_place_of_a_file_does_not_block(saved, name):
    (saved / name).unlink()
    os.mkfifo(saved / name)
    with pytest.raises(CheckpointError, match=r"no checkpoint at|no ordinary file"):
        checkpoint.load(saved)


def test_path_of_five_thousand_letters_is_answered(tmp_path):
    with pytest.raises(CheckpointError, match="no checkpoint at"):
        checkpoint.load(str(tmp_path / ("a" * 5_000)))


@pytest.mark.parametrize("change", [lambda t: t.double(), lambda t: t[:, :1], lambda t: t.int()])
def test_moment_of_another_shape_or_type_is_refused(trained, change):
    tensors, about = checkpoint.read_tensors(trained / "training.safetensors")
    name = "optimizer.final.weight.exp_avg"
    tensors[name] = change(tensors[name])
    (trained / "training.safetensors").write_bytes(checkpoint.tensor_bytes(tensors, about))
    with pytest.raises(CheckpointError, match=r"exp_avg for final\.weight has another shape or type"):
        checkpoint.open_run(trained)


def test_failed_save_says_what_has_changed(trained, monkeypatch):
    refuse_to_write(monkeypatch, "model.safetensors")
    with pytest.raises(CheckpointError, match=r"Already renewed: training\.safetensors$"):
        checkpoint.save_training(trained_state(7), trained)


def test_second_run_on_a_folder_is_told_so(tmp_path):
    with checkpoint.locked(tmp_path):
        second = checkpoint.locked(tmp_path)
        with pytest.raises(CheckpointError, match="in use by another run"):
            second.__enter__()
    with checkpoint.locked(tmp_path):
        pass
