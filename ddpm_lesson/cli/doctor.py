"""``ddpm-lesson doctor``."""

import os
import sys

import click

from ddpm_lesson.cli.group import EXPECTED, main
from ddpm_lesson.doctor import DoctorError, examine, patient_of

UNREADABLE = 2  # exit status of the doctor for what is no patient


@main.command("doctor", epilog="Exit status: 0 healthy, 1 sick, 2 cannot be read.")
@click.argument("model", metavar="FOLDER_OR_MODULE")
@click.option("--data", help="Images to ask about.  [default: the model's own]")
def doctor_command(model: str, data: str | None) -> None:
    """Look at a trained model and say what is wrong with it, in sentences.

    A folder that 'train' wrote, the name of shipped weights, or module:function: a function of yours that returns a
    DenoiseDiffusion, or a network that predicts noise and its alpha_bar.
    """
    sys.path.insert(0, os.getcwd())  # where a module of one's own lies
    try:
        patient = patient_of(model, data)
    except (*EXPECTED, DoctorError) as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(UNREADABLE)
    found = list(examine(patient))
    for name, (ok, sentence) in found:
        click.echo(f"{'ok  ' if ok else 'SICK'}  {name}: {sentence}")
    sys.exit(not all(finding.ok for _, finding in found))
