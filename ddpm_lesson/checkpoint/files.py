"""Our own files: ``settings.json``, ``model.safetensors`` and, for a run in training, ``training.safetensors``."""

import contextlib
import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_safetensors
from torch import Tensor, nn

from ddpm_lesson.data import nearest
from ddpm_lesson.diffusion import DenoiseDiffusion
from ddpm_lesson.runtime import assets_folder, get_device
from ddpm_lesson.schedule import NoiseSchedule
from ddpm_lesson.train import TrainConfig, TrainState
from ddpm_lesson.unet import UNet

FORMAT = "ddpm_lesson 1"
MODEL_FIELDS = ("n_channels", "ch_mults", "is_attn", "n_blocks", "n_heads", "n_groups", "n_steps", "schedule")
ADAM_STATE = ("step", "exp_avg", "exp_avg_sq")
SETTINGS, MODEL, TRAINING = "settings.json", "model.safetensors", "training.safetensors"


class CheckpointError(RuntimeError):
    """A checkpoint that cannot be read, does not fit, or could not be written; the message says which and why."""


def save(diffusion: DenoiseDiffusion, folder: str | Path, **info: Any) -> None:
    """Write a model into ``folder``; what was there stays intact until the new files are complete.

    Args:
        diffusion: the model; its ``eps_model`` must be a ``UNet``.
        folder: created if need be.
        info: anything else for ``settings.json``, such as ``image_shape``.

    Raises:
        TypeError: if the noise predictor is not a ``UNet``.
        CheckpointError: if the files cannot be written, for example because the disk is full.
    """
    write_whole(Path(folder), model_files(diffusion, info))


def model_files(diffusion: DenoiseDiffusion, info: dict[str, Any]) -> dict[str, bytes]:
    """The contents of ``settings.json`` and ``model.safetensors``; TypeError if there is no ``UNet`` to write."""
    if not isinstance(diffusion.eps_model, UNet):
        raise TypeError(f"eps_model must be a UNet to be saved; got {type(diffusion.eps_model).__name__}")
    settings = {
        "format": FORMAT,
        "model": diffusion.eps_model.settings,
        "diffusion": {
            "schedule": diffusion.schedule.settings,
            "sigma": diffusion.sigma,
            "clip_x0": diffusion.clip_x0,
        },
        **info,
    }
    text = json.dumps(settings, indent=2, default=str) + "\n"
    return {MODEL: tensor_bytes(diffusion.eps_model.state_dict()), SETTINGS: text.encode()}


def load(folder_or_name: str | Path, device: str | torch.device = "auto") -> DenoiseDiffusion:
    """Read a model, ready to sample from. Settings that the checkpoint leaves out take their defaults.

    Args:
        folder_or_name: a folder that ``save`` wrote, or the name of shipped weights: ``"digits"``, ``"mnist"`` or
            ``"cifar10_small"``.
        device: where to put it, see ``get_device``.

    Raises:
        CheckpointError: if there is no checkpoint, it cannot be read, or weights and settings do not fit together.
    """
    folder = find(folder_or_name)
    settings = read_settings(folder)
    try:
        model = UNet(**settings["model"])
        rest = dict(settings["diffusion"])
        schedule = NoiseSchedule.from_settings(rest.pop("schedule"))
        diffusion = DenoiseDiffusion(model, schedule=schedule, **rest)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(f"{folder / SETTINGS} does not describe a model: {error}") from error
    tensors, _ = read_tensors(folder / MODEL)
    load_weights(model, tensors, folder / MODEL)
    return diffusion.to(get_device(device)).eval()


def find(folder_or_name: str | Path) -> Path:
    """The folder of a checkpoint, or of shipped weights of that name."""
    shipped = sorted(f.parent.name for f in assets_folder().glob(f"*/{SETTINGS}"))
    folder = Path(folder_or_name)
    if (folder / SETTINGS).is_file():
        return folder
    if str(folder_or_name) not in shipped:
        near = nearest(str(folder_or_name), shipped)
        raise CheckpointError(
            f"no checkpoint at {str(folder)!r}{near}: it must be a folder with {SETTINGS} and {MODEL}, "
            f"or the name of shipped weights: {', '.join(shipped) or 'none here'}"
        )
    return assets_folder() / folder


def read_settings(folder: str | Path) -> dict[str, Any]:
    """The contents of ``settings.json``; CheckpointError if it is unreadable or foreign."""
    file = Path(folder) / SETTINGS
    try:
        settings = json.loads(file.read_text())
    except (OSError, ValueError) as error:
        raise CheckpointError(f"cannot read {file}: {error}") from error
    if not isinstance(settings, dict) or settings.get("format") != FORMAT:
        raise CheckpointError(f"{file} is not of this project: its format must be {FORMAT!r}")
    return settings


def image_shape(folder_or_name: str | Path) -> tuple[int, int, int]:
    """(C, H, W) of the images that a checkpoint was trained on; CheckpointError if it does not say."""
    folder = find(folder_or_name)
    shape = read_settings(folder).get("image_shape")
    if not (isinstance(shape, list) and len(shape) == 3 and all(isinstance(n, int) and n > 0 for n in shape)):
        raise CheckpointError(f"{folder / SETTINGS} does not say the shape of its images: image_shape is {shape!r}")
    return tuple(shape)


def load_weights(model: nn.Module, tensors: dict[str, Tensor], source: Path) -> None:
    """Copy ``tensors`` into ``model``; CheckpointError naming the first that is missing, extra or of another shape."""
    expected = model.state_dict()
    for name in sorted(expected.keys() | tensors.keys()):
        if name not in tensors:
            problem = f"it lacks {name}"
        elif name not in expected:
            problem = f"it holds {name}, which the model has not"
        elif tensors[name].shape != expected[name].shape:
            problem = f"{name} is {tuple(tensors[name].shape)} and should be {tuple(expected[name].shape)}"
        else:
            continue
        raise CheckpointError(f"{source} is of another architecture: {problem}")
    model.load_state_dict(tensors)


# A training run: the model and all that is needed to go on


def save_training(state: TrainState, folder: str | Path) -> None:
    """Write a run: ``training.safetensors`` to go on from, and the averaged model as ``save`` does.

    Raises:
        CheckpointError: if the files cannot be written; the earlier ones stay.
    """
    tensors = prefixed("model", state.diffusion.eps_model.state_dict())
    tensors |= prefixed("ema", state.ema.module.state_dict())
    tensors |= prefixed("optimizer", optimizer_tensors(state))
    progress = {"step": str(state.step), "scaler": json.dumps(state.scaler)}
    info = {"image_shape": state.image_shape, "step": state.step, "training": asdict(state.config)}
    write_whole(Path(folder), {TRAINING: tensor_bytes(tensors, progress)} | model_files(state.averaged(), info))


def load_config(folder: str | Path) -> TrainConfig:
    """The settings of the run in ``folder``; CheckpointError if they are not there or not valid."""
    try:
        return TrainConfig(**read_settings(folder)["training"])
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{Path(folder) / SETTINGS} does not describe a training run: {error}") from error


def load_training(state: TrainState, folder: str | Path) -> None:
    """Put a freshly made ``state`` where the run in ``folder`` was saved.

    Raises:
        CheckpointError: if there is no such run, it cannot be read, or its architecture is another.
    """
    file = Path(folder) / TRAINING
    tensors, progress = read_tensors(file)
    check_same_model(state.config, load_config(folder), file)
    try:
        step, scaler = int(progress["step"]), json.loads(progress["scaler"])
    except (KeyError, ValueError) as error:
        raise CheckpointError(f"{file} does not say where the run stood: {error}") from error
    load_weights(state.diffusion.eps_model, with_prefix("model", tensors), file)
    load_weights(state.ema.module, with_prefix("ema", tensors), file)
    if step:
        load_moments(state, with_prefix("optimizer", tensors), file)
    state.step, state.scaler = step, scaler
    state.ema.n_averaged.fill_(step)


def check_same_model(config: TrainConfig, stored: TrainConfig, source: Path) -> None:
    """CheckpointError naming the first setting of the model in which two runs differ."""
    for name in MODEL_FIELDS:
        here, there = getattr(config, name), getattr(stored, name)
        if here != there:
            raise CheckpointError(f"{source} is of another architecture: {name} is {there!r} and should be {here!r}")


def load_moments(state: TrainState, tensors: dict[str, Tensor], source: Path) -> None:
    """Give the optimiser its moments back; CheckpointError naming the first that is missing."""
    for name, parameter in state.diffusion.eps_model.named_parameters():
        saved = with_prefix(name, tensors)
        missing = [key for key in ADAM_STATE if key not in saved]
        if missing:
            raise CheckpointError(f"{source} lacks {missing[0]} of the optimiser for {name}")
        moments = {key: value.to(parameter.device) for key, value in saved.items() if key != "step"}
        state.optimizer.state[parameter] = {"step": saved["step"], **moments}


def optimizer_tensors(state: TrainState) -> dict[str, Tensor]:
    """Adam's moments and step counts, named after the parameters they belong to."""
    named = state.diffusion.eps_model.named_parameters()
    return {f"{name}.{key}": value for name, p in named for key, value in state.optimizer.state[p].items()}


def prefixed(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {f"{prefix}.{name}": tensor for name, tensor in tensors.items()}


def with_prefix(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(f"{prefix}."): t for name, t in tensors.items() if name.startswith(f"{prefix}.")}


# Files


def read_tensors(file: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of a safetensors file; CheckpointError if it cannot be read."""
    try:
        with safe_open(file, framework="pt") as f:
            # copies, because an open view of the file would keep Windows from replacing it
            return {name: f.get_tensor(name).clone() for name in f.keys()}, f.metadata() or {}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"cannot read {file}: {error}") from error


def tensor_bytes(tensors: dict[str, Tensor], metadata: dict[str, str] | None = None) -> bytes:
    """The contents of a safetensors file."""
    return to_safetensors({name: t.detach().cpu().contiguous().clone() for name, t in tensors.items()}, metadata)


def write_whole(folder: Path, files: dict[str, bytes]) -> None:
    """Write files beside the old ones and move them into place once all are complete, so that nothing is lost.

    Raises:
        CheckpointError: if a file cannot be written; the earlier ones stay.
    """
    unfinished = {folder / name: folder / f"{name}.unfinished" for name in files}
    file = folder
    try:
        for file, contents in zip(unfinished, files.values(), strict=True):
            file.parent.mkdir(parents=True, exist_ok=True)
            unfinished[file].write_bytes(contents)
        for file, path in unfinished.items():
            os.replace(path, file)
    except OSError as error:
        for path in unfinished.values():
            with contextlib.suppress(OSError):
                path.unlink()
        raise CheckpointError(f"could not save {file}: {error}. What was saved before is untouched") from error
