"""The group of all commands, and what several of them share."""

import contextlib
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from ddpm_lesson.checkpoint import CheckpointError
from ddpm_lesson.data import DataError
from ddpm_lesson.evaluate import EvaluationError

MOST = 100_000  # images, steps, epochs: more is a slip of the finger
COUNT, SEED = click.IntRange(1, MOST), click.IntRange(0, 2**32 - 1)
EXPECTED = (
    *(ValueError, OSError, FloatingPointError, ImportError),
    *(DataError, EvaluationError, CheckpointError),
)
INTERRUPTED = 128 + 2  # what a shell makes of Ctrl-C

device_option = click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:N or mps.")


class Commands(click.Group):
    """A group whose commands report foreseeable mistakes in one sentence, without a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            click.echo("interrupted", err=True)
            sys.exit(INTERRUPTED)
        except EXPECTED as error:
            raise click.ClickException(str(error)) from error


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="ddpm-lesson")
def main() -> None:
    """Train and sample denoising diffusion models (Ho et al. 2020)."""


@contextlib.contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Make a folder for what the ``with`` block writes; what goes wrong there is a sentence."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        raise click.ClickException(f"cannot write into {folder}: {error.strerror or error}") from error


def check_writable(folder: Path) -> None:
    """Find out before the work whether its results can be written into ``folder``, and leave nothing behind."""
    missing = [part for part in (folder, *folder.parents) if not part.exists()]
    with writing(folder), tempfile.TemporaryFile(dir=folder):
        pass
    with contextlib.suppress(OSError):  # somebody else writes there already
        for part in missing:  # whoever is told of a mistake later on has no empty folder to remove
            part.rmdir()
