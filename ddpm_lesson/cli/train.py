"""``ddpm-lesson train``: an option for every setting."""

import sys
import types
import typing
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import click

from ddpm_lesson import checkpoint
from ddpm_lesson.cli.group import device_option, main
from ddpm_lesson.data import DATASETS
from ddpm_lesson.run import Stop, run
from ddpm_lesson.runtime import rank
from ddpm_lesson.train import PRESETS, TrainConfig, TrainState, get_preset


class ListOf(click.ParamType):
    """Comma-separated values: ``1,2,2`` or ``no,yes,no``."""

    def __init__(self, item: type):
        self.item = click.BOOL if item is bool else click.INT
        self.name = "no,yes,.." if item is bool else "int,int,.."

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple:
        parts = value if isinstance(value, tuple) else value.split(",")
        return tuple(self.item.convert(part, param, ctx) for part in parts)


def option_type(annotation: Any) -> Any:
    """The click type for the annotation of a ``TrainConfig`` field."""
    arguments = typing.get_args(annotation)
    if typing.get_origin(annotation) is tuple:
        return ListOf(arguments[0])
    return arguments[0] if isinstance(annotation, types.UnionType) else annotation


def config_options(command: click.Command) -> click.Command:
    """Give ``command`` one option for every field of ``TrainConfig``, which brings its help text."""
    hints = typing.get_type_hints(TrainConfig)
    for f in fields(TrainConfig):
        name = f.name.replace("_", "-")
        flag = f"--{name}/--no-{name}" if hints[f.name] is bool else f"--{name}"
        kind = None if hints[f.name] is bool else option_type(hints[f.name])
        command.params.append(click.Option([flag], type=kind, default=None, help=f.metadata["help"]))
    return command


@config_options
@main.command(
    "train",
    epilog=f"Presets: {', '.join(PRESETS)}. Settings that are left out come from the preset, or from the run that is "
    "resumed.",
)
@click.argument("preset")
@click.option("--out", type=click.Path(path_type=Path), help="Folder of the run.  [default: runs/PRESET]")
@device_option
@click.option("--resume", is_flag=True, help="Go on from the run in the folder, if there is one.")
def train_command(preset: str, out: Path | None, device: str, resume: bool, **settings: Any) -> None:
    """Train a model. Ctrl-C saves everything and stops; --resume goes on.

    A run goes on with its own settings. Those that would have changed the steps already taken cannot change, and
    --data may only say where the same images lie now.
    """
    overrides = {name: value for name, value in settings.items() if value is not None}
    folder = out or Path("runs") / preset
    if resume and checkpoint.holds_run(folder):
        config = replace(checkpoint.load_config(folder), **overrides)
        note_other_preset(preset, config)
    else:
        config = get_preset(preset, **overrides)
    stop = Stop()
    state = run(config, folder, device, resume=resume, stop=stop)
    if rank() == 0:
        click.echo(outcome(folder, state, f"ddpm-lesson train {preset} --resume --out {folder}"))
    if stop.is_set():
        sys.exit(128 + stop.number)


def note_other_preset(preset: str, config: TrainConfig) -> None:
    """Say so if a run on a known data set goes on under the name of a preset for another; ValueError if it is none."""
    other = get_preset(preset).data
    if config.data in DATASETS and config.data != other and rank() == 0:
        click.echo(f"This run trains on {config.data!r}, and not on {other!r} as the preset does.")


def outcome(folder: Path, state: TrainState, again: str) -> str:
    """The last line of a training: what there is now, and the command that makes more of it."""
    if state.step < state.config.train_steps:
        return f"{folder}: step {state.step:,} of {state.config.train_steps:,}. Go on with: {again}"
    pictures = [name for name in ("loss.png", "samples") if (folder / name).exists()]
    return f"{folder}: {', '.join(['weights', *pictures])}. Draw more with: ddpm-lesson sample {folder}"
