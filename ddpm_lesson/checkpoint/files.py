"""A model on disk: ``settings.json`` and ``model.safetensors``."""

import contextlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ddpm_lesson.checkpoint.disk import (
    FORMAT,
    CheckpointError,
    read_json,
    read_tensors,
    tensor_bytes,
    text_sum,
    to_json,
    write_whole,
)
from ddpm_lesson.data import nearest
from ddpm_lesson.diffusion import DenoiseDiffusion
from ddpm_lesson.flow import FlowMatching
from ddpm_lesson.runtime import assets_folder, get_device
from ddpm_lesson.schedule import NoiseSchedule
from ddpm_lesson.unet import UNet

FORMATS = ("ddpm_lesson 1", FORMAT)  # that can be opened; the first has no checksums
SETTINGS, MODEL = "settings.json", "model.safetensors"
TRAINING, PREVIOUS = "training.safetensors", "training.previous.safetensors"
MODEL_SUM = "model_sha256"  # in settings of the first format, the checksum of the weights beside them
LIMITS = {  # far above any use, and below what would fill a memory or never end
    **{"image_channels": 1_000, "n_channels": 10_000, "n_blocks": 100, "n_heads": 10_000},
    **{"n_steps": 100_000, "image_size": 10_000, "batch_size": 1_000_000, "n_samples": 100_000, "n_classes": 100_000},
}
MOST_LEVELS, LARGEST_MULTIPLE = 16, 1_000


def present(folder: str | Path) -> list[str]:
    """Names of the files of a model or of a run that lie in ``folder``, whole or not."""
    return [name for name in (SETTINGS, MODEL, TRAINING, PREVIOUS) if os.path.lexists(Path(folder) / name)]


def holds_run(folder: str | Path) -> bool:
    """Whether ``folder`` holds a run that may go on, and not just a model."""
    return bool({TRAINING, PREVIOUS} & set(present(folder)))


def check_free(folder: str | Path) -> None:
    """FileExistsError if any file of a run or of a model is in ``folder``: nothing is written over it."""
    if found := present(folder):
        advice = "resume it, or choose another folder" if holds_run(folder) else "choose another folder"
        raise FileExistsError(f"{folder} already holds a run or a model ({', '.join(found)}): {advice}")


def save(diffusion: DenoiseDiffusion | FlowMatching, folder: str | Path, **info: Any) -> None:
    """Write a model into ``folder``; what was there stays intact until the new files are complete.

    Args:
        diffusion: the model; its ``eps_model`` must be a ``UNet``.
        folder: created if need be.
        info: anything else for ``settings.json``, such as ``image_shape``.

    Raises:
        TypeError: if the noise predictor is not a ``UNet``.
        FileExistsError: if ``folder`` holds a run.
        CheckpointError: if the files cannot be written, for example because the disk is full.
    """
    if holds_run(folder):
        check_free(folder)
    write_whole(Path(folder), model_files(diffusion, describe(diffusion, **info)))


def describe(diffusion: DenoiseDiffusion | FlowMatching, **info: Any) -> dict[str, Any]:
    """What ``settings.json`` says of a model; TypeError if there is no ``UNet`` to write."""
    if not isinstance(diffusion.eps_model, UNet):
        raise TypeError(f"eps_model must be a UNet to be saved; got {type(diffusion.eps_model).__name__}")
    process: dict[str, Any] = {"prediction": "flow"}
    if isinstance(diffusion, DenoiseDiffusion):
        process = {"schedule": diffusion.schedule.settings, "sigma": diffusion.sigma}
        process |= {"clip_x0": diffusion.clip_x0, "prediction": diffusion.prediction}
    return {"format": FORMAT, "model": diffusion.eps_model.settings, "diffusion": process, **info}


def model_files(diffusion: DenoiseDiffusion | FlowMatching, settings: Mapping[str, Any]) -> dict[str, bytes]:
    """The contents of ``settings.json`` and ``model.safetensors``. They know each other: see ``partner``."""
    about = {"step": str(settings.get("step", "")), "settings": partner(settings)}
    weights = tensor_bytes(diffusion.eps_model.state_dict(), about)
    return {MODEL: weights, SETTINGS: to_json(settings).encode()}


def partner(settings: Mapping[str, Any]) -> str:
    """By what weights recognise their settings: the same for every step of a run, another for another model."""
    return text_sum({name: settings.get(name) for name in ("model", "diffusion")})


def load(folder_or_name: str | Path, device: str | torch.device = "auto") -> DenoiseDiffusion:
    """Read a model, ready to sample from. Settings that the checkpoint leaves out take their defaults.

    Args:
        folder_or_name: a folder that ``save`` wrote, or the name of shipped weights, such as ``"mnist"``.
        device: where to put it, see ``get_device``.

    Raises:
        CheckpointError: if there is no checkpoint, it cannot be read or is damaged, weights and settings do not fit
            together, or it is a flow.
    """
    model = load_any(folder_or_name, device)
    if isinstance(model, FlowMatching):
        raise CheckpointError(
            f"{folder_or_name} is a flow, and no diffusion: open it with load_flow, or sample from it"
        )
    return model


def load_flow(folder_or_name: str | Path, device: str | torch.device = "auto") -> FlowMatching:
    """Read a model of straight paths; arguments and errors as in ``load``."""
    model = load_any(folder_or_name, device)
    if isinstance(model, DenoiseDiffusion):
        raise CheckpointError(f"{folder_or_name} is a diffusion, and no flow: open it with load")
    return model


def load_any(folder_or_name: str | Path, device: str | torch.device = "auto") -> DenoiseDiffusion | FlowMatching:
    """Read a model of either kind; arguments and errors as in ``load``."""
    folder = find(folder_or_name)
    settings = read_settings(folder)
    tensors, about = read_tensors(folder / MODEL, settings.get(MODEL_SUM))
    diffusion = build(settings, tensors, folder / SETTINGS, folder / MODEL)
    if about.get("settings") not in (None, partner(settings)):
        raise CheckpointError(f"{folder / MODEL} is of another model than {folder / SETTINGS}")
    load_weights(diffusion.eps_model, tensors, folder / MODEL)
    return diffusion.to(get_device(device)).eval()


def build(
    settings: Mapping[str, Any], tensors: Mapping[str, Tensor], source: Path, weights: Path
) -> DenoiseDiffusion | FlowMatching:
    """The model that settings describe, untrained; arguments and errors as in ``sketch``."""
    sketch(settings, tensors, source, weights)
    with described_in(source):
        rest = dict(settings["diffusion"])
        if rest == {"prediction": "flow"}:
            return FlowMatching(UNet(**settings["model"]))
        schedule = NoiseSchedule.from_settings(rest.pop("schedule"))
        return DenoiseDiffusion(UNet(**settings["model"]), schedule=schedule, **rest)


def sketch(settings: Mapping[str, Any], tensors: Mapping[str, Tensor], source: Path, weights: Path) -> UNet:
    """The network that settings describe, without any memory for its weights.

    Args:
        settings: as ``describe`` makes them.
        tensors: what its weights will be.
        source, weights: where the two come from.

    Raises:
        CheckpointError: if the settings describe no model, or one that the tensors do not fit.
    """
    with described_in(source):
        check_limits(settings["model"])
        if settings["diffusion"].get("prediction") != "flow":
            check_limits(settings["diffusion"]["schedule"])
        with torch.device("meta"):
            model = UNet(**settings["model"])
    check_weights(model, tensors, weights)
    return model


@contextlib.contextmanager
def described_in(source: Path) -> Iterator[None]:
    """Turn what goes wrong with settings from a file into a CheckpointError."""
    try:
        yield
    except (LookupError, TypeError, ValueError, AttributeError, OverflowError, RuntimeError) as error:
        raise CheckpointError(f"{source} does not describe a model: {error}") from error


def check_limits(settings: Mapping[str, Any]) -> None:
    """ValueError naming the first setting that is so large that it can only be a mistake, or malice."""
    for name, most in LIMITS.items():
        if isinstance(settings.get(name), int) and settings[name] > most:
            raise ValueError(f"{name} must be at most {most:,}; got {settings[name]:,}")
    multiples = settings.get("ch_mults", ())
    if len(multiples) > MOST_LEVELS or any(isinstance(m, int) and m > LARGEST_MULTIPLE for m in multiples):
        raise ValueError(f"ch_mults must be at most {MOST_LEVELS} numbers of at most {LARGEST_MULTIPLE:,}")


def find(folder_or_name: str | Path) -> Path:
    """The folder of a checkpoint, or of shipped weights of that name."""
    shipped = sorted(f.parent.name for f in assets_folder().glob(f"*/{SETTINGS}"))
    folder = Path(folder_or_name)
    if os.path.isfile(folder / SETTINGS):
        return folder
    if str(folder_or_name) not in shipped:
        near = nearest(str(folder_or_name), shipped)
        raise CheckpointError(
            f"no checkpoint at {str(folder)!r}{near}: it must be a folder with {SETTINGS} and {MODEL}, "
            f"or the name of shipped weights: {', '.join(shipped) or 'none here'}"
        )
    return assets_folder() / folder


def read_settings(folder: str | Path) -> dict[str, Any]:
    """The contents of ``settings.json``; CheckpointError if it is unreadable, damaged or foreign."""
    file = Path(folder) / SETTINGS
    return check_format(read_json(file), file)


def check_format(settings: dict[str, Any], source: Path) -> dict[str, Any]:
    """The same settings; CheckpointError if this version cannot open what they describe."""
    if settings.get("format") not in FORMATS:
        raise CheckpointError(
            f"{source} is not of this project, or of another version of it: its format must be "
            f"{' or '.join(map(repr, FORMATS))}; got {settings.get('format')!r}"
        )
    return settings


def image_shape(folder_or_name: str | Path) -> tuple[int, int, int]:
    """(C, H, W) of the images that a checkpoint was trained on; CheckpointError if it does not say."""
    folder = find(folder_or_name)
    return check_shape(read_settings(folder).get("image_shape"), folder / SETTINGS)


def check_shape(shape: Any, source: Path) -> tuple[int, int, int]:
    """(C, H, W) as settings give it; CheckpointError if it cannot be that."""
    whole = isinstance(shape, list) and len(shape) == 3 and all(type(n) is int for n in shape)
    if not (whole and all(0 < n <= LIMITS["image_size"] for n in shape)):
        raise CheckpointError(f"{source} does not say the shape of its images: image_shape is {shape!r}")
    return tuple(shape)


def load_weights(model: nn.Module, tensors: Mapping[str, Tensor], source: Path) -> None:
    """Copy ``tensors`` into ``model``; arguments and errors as in ``check_weights``."""
    check_weights(model, tensors, source)
    model.load_state_dict(tensors)


def check_weights(model: nn.Module, tensors: Mapping[str, Tensor], source: Path) -> None:
    """CheckpointError naming the first tensor that is missing, extra, of another shape or of a type that loses digits.

    Half precision goes into single precision as it is.
    """
    expected = model.state_dict()
    for name in sorted(expected.keys() | tensors.keys()):
        if name not in tensors:
            problem = f"it lacks {name}"
        elif name not in expected:
            problem = f"it holds {name}, which the model has not"
        elif tensors[name].shape != expected[name].shape:
            problem = f"{name} is {tuple(tensors[name].shape)} and should be {tuple(expected[name].shape)}"
        elif not is_exact(tensors[name].dtype, expected[name].dtype):
            problem = f"{name} holds {tensors[name].dtype} and should hold {expected[name].dtype}"
        else:
            continue
        raise CheckpointError(f"{source} is of another architecture: {problem}")


def is_exact(source: torch.dtype, target: torch.dtype) -> bool:
    """Whether numbers of one type are the same numbers in another."""
    return source.is_floating_point == target.is_floating_point and torch.promote_types(source, target) == target
