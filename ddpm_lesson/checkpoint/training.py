"""A training run on disk: its model, and in ``training.safetensors`` all that is needed to go on.

That file alone decides where a run stands: it carries its settings, its step and a checksum. The one before it is kept,
and whatever else lies in the folder is written anew from the newest whole one of the two.
"""

import json
import os
import typing
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ddpm_lesson.checkpoint.disk import (
    CheckpointError,
    from_json,
    read_metadata,
    read_tensors,
    tensor_bytes,
    to_json,
    write_whole,
)
from ddpm_lesson.checkpoint.files import (
    MODEL,
    PREVIOUS,
    SETTINGS,
    TRAINING,
    check_format,
    check_limits,
    check_shape,
    describe,
    holds_run,
    load_weights,
    model_files,
    read_settings,
    sketch,
)
from ddpm_lesson.train import TrainConfig, TrainState

ADAM_STATE = ("step", "exp_avg", "exp_avg_sq")
DAMAGED = "training.damaged"  # where a damaged file goes, out of the way of the next one
FIXED = (  # what the steps already taken depend on
    *("image_size", "n_channels", "ch_mults", "is_attn", "n_blocks", "n_heads", "n_groups"),
    *("n_steps", "schedule", "prediction", "n_classes", "label_dropout", "batch_size", "flip", "seed"),
)


@dataclass(frozen=True)
class SavedRun:
    """A run as its newest whole file holds it."""

    file: Path
    settings: dict[str, Any]  # what settings.json says at this step, and ``scaler``
    tensors: dict[str, Tensor]
    config: TrainConfig
    passed_over: str = ""  # what is wrong with the newer file, if it was not taken

    @property
    def step(self) -> int:
        """Optimiser steps taken."""
        return self.settings["step"]

    def part(self, prefix: str) -> dict[str, Tensor]:
        """The tensors whose names begin so, without that beginning."""
        return with_prefix(prefix, self.tensors)


def save_training(state: TrainState, folder: str | Path, files: Mapping[str, bytes] | None = None, **info: Any) -> None:
    """Write a run: ``training.safetensors`` to go on from, and the averaged model as ``save`` does.

    Args:
        state: the run.
        folder: created if need be; the training file of the checkpoint before stays, as ``PREVIOUS``.
        files: contents of others that belong to this step, by name.
        info: anything else for the settings.

    Raises:
        CheckpointError: if the files cannot be written; the run can go on from the checkpoint before.
    """
    progress = {"image_shape": state.image_shape, "step": state.step, "scaler": state.scaler}
    averaged = state.averaged()
    settings = describe(averaged, **progress, **info, training=asdict(state.config))
    training = tensor_bytes(state_tensors(state), {"step": str(state.step), "settings": to_json(settings)})
    everything = {TRAINING: training, **model_files(averaged, settings), **(files or {})}
    write_whole(Path(folder), everything, keep={TRAINING: PREVIOUS})


def state_tensors(state: TrainState) -> dict[str, Tensor]:
    """Weights, their average and the optimiser's moments, by name."""
    model = prefixed("model", state.diffusion.eps_model.state_dict())
    return model | prefixed("ema", state.ema.module.state_dict()) | prefixed("optimizer", optimizer_tensors(state))


def open_run(folder: str | Path) -> SavedRun:
    """Read the newest whole checkpoint of a run and check all of it.

    Raises:
        CheckpointError: if there is none; it says what is wrong with each.
    """
    problems: list[str] = []
    for name in (TRAINING, PREVIOUS):
        if problems and not os.path.lexists(Path(folder) / name):
            break
        try:
            return read_run(Path(folder) / name, "; ".join(problems))
        except CheckpointError as error:
            problems.append(str(error))
    raise CheckpointError("; ".join(problems))


def read_run(file: Path, passed_over: str) -> SavedRun:
    """One checkpoint of a run; CheckpointError unless every piece of it is there and fits."""
    tensors, about = read_tensors(file)
    settings = run_settings(about, file)
    if type(settings.get("step")) is not int or not isinstance(settings.get("scaler"), dict):
        raise CheckpointError(f"{file} does not say where the run stood")
    check_shape(settings.get("image_shape"), file)
    saved = SavedRun(file, settings, tensors, to_config(settings, file), passed_over)
    sketch(settings, saved.part("ema"), file, file)
    model = sketch(settings, saved.part("model"), file, file)
    for name, parameter in model.named_parameters() if saved.step else ():
        check_moments(name, parameter, saved.part(f"optimizer.{name}"), file)
    return saved


def run_settings(about: Mapping[str, str], file: Path) -> dict[str, Any]:
    """The settings that a training file carries, or those beside it if it is of the first format."""
    if "settings" in about:
        return check_format(from_json(about["settings"], file), file)
    try:
        progress = {"step": int(about["step"]), "scaler": json.loads(about["scaler"])}
    except (KeyError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{file} does not say where the run stood: {error}") from error
    return read_settings(file.parent) | progress


def load_config(folder: str | Path) -> TrainConfig:
    """The settings of the run in ``folder``; CheckpointError if they are not there or not valid."""
    for name in (TRAINING, PREVIOUS) if holds_run(folder) else ():
        file = Path(folder) / name
        try:
            return to_config(run_settings(read_metadata(file), file), file)
        except CheckpointError:
            continue  # ``settings.json`` may be whole
    return to_config(read_settings(folder), Path(folder) / SETTINGS)


def to_config(settings: Mapping[str, Any], source: Path) -> TrainConfig:
    """The settings of a run; CheckpointError if there are none, or they are not valid."""
    try:
        values = settings["training"]
        check_limits(values)
        hints = typing.get_type_hints(TrainConfig)
        for name in values.keys() & hints.keys():
            if not is_of(values[name], hints[name]):
                raise TypeError(f"{name} cannot be {values[name]!r}")
        return TrainConfig(**values)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(f"{source} does not describe a training run: {error}") from error


def is_of(value: Any, hint: Any) -> bool:
    """Whether a value that came from JSON is of the type that a field wants."""
    if typing.get_origin(hint) is tuple:
        return isinstance(value, list) and all(is_of(v, typing.get_args(hint)[0]) for v in value)
    kinds = typing.get_args(hint) or (hint,)
    return type(value) in kinds or (float in kinds and type(value) is int)


def load_training(state: TrainState, folder: str | Path) -> SavedRun:
    """Put a freshly made ``state`` where the run in ``folder`` was saved; returns what was read.

    Raises:
        CheckpointError: if there is no such run, it cannot be read, or its first steps were others.
    """
    saved = open_run(folder)
    restore(state, saved)
    return saved


def restore(state: TrainState, saved: SavedRun) -> None:
    """Put a freshly made ``state`` where a run was saved; CheckpointError if it is of other settings."""
    check_same_run(state.config, saved)
    load_weights(state.diffusion.eps_model, saved.part("model"), saved.file)
    load_weights(state.ema.module, saved.part("ema"), saved.file)
    for name, parameter in state.diffusion.eps_model.named_parameters() if saved.step else ():
        moments = saved.part(f"optimizer.{name}")
        laid_out = {key: torch.empty_like(parameter).copy_(moments[key]) for key in ADAM_STATE if key != "step"}
        state.optimizer.state[parameter] = {"step": moments["step"], **laid_out}
    state.step, state.scaler = saved.step, saved.settings["scaler"]
    state.ema.n_averaged.fill_(saved.step)


def check_same_run(config: TrainConfig, saved: SavedRun) -> None:
    """CheckpointError naming the first setting that would have made other steps than those already taken."""
    for name in FIXED:
        here, there = getattr(config, name), getattr(saved.config, name)
        if here != there:
            raise CheckpointError(
                f"{saved.file} is of another run: {name} is {there!r} there and {here!r} here; it cannot change "
                "while a run goes on. Choose another folder to begin a new one"
            )


def heal(state: TrainState, saved: SavedRun, files: Mapping[str, bytes] | None = None, **info: Any) -> bool:
    """Write the files of a run anew unless all are whole and of one step; whether that was necessary.

    Args:
        state: the run, as restored from ``saved``.
        files, info: as in ``save_training``.
    """
    folder = saved.file.parent
    if saved.file.name == TRAINING and is_whole(folder, saved.step):
        return False
    if saved.file.name == PREVIOUS and os.path.isfile(folder / TRAINING):
        os.replace(folder / TRAINING, folder / DAMAGED)
    save_training(state, folder, files, **info)
    return True


def is_whole(folder: Path, step: int) -> bool:
    """Whether model and settings can be read and are of this step."""
    try:
        settings, (_, about) = read_settings(folder), read_tensors(folder / MODEL)
    except CheckpointError:
        return False
    return settings.get("step") == step and about.get("step") == str(step)


# Adam


def check_moments(name: str, parameter: Tensor, moments: Mapping[str, Tensor], source: Path) -> None:
    """CheckpointError unless Adam's moments of a parameter are there and as large as it is."""
    for key in ADAM_STATE:
        shape = () if key == "step" else parameter.shape
        if key not in moments:
            raise CheckpointError(f"{source} lacks {key} of the optimiser for {name}")
        if moments[key].shape != shape or moments[key].dtype != torch.float32:
            raise CheckpointError(f"{source} does not fit: {key} for {name} has another shape or type")


def optimizer_tensors(state: TrainState) -> dict[str, Tensor]:
    """Adam's moments and step counts, named after the parameters they belong to."""
    named = state.diffusion.eps_model.named_parameters()
    return {f"{name}.{key}": value for name, p in named for key, value in state.optimizer.state[p].items()}


def prefixed(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {f"{prefix}.{name}": tensor for name, tensor in tensors.items()}


def with_prefix(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(f"{prefix}."): t for name, t in tensors.items() if name.startswith(f"{prefix}.")}
