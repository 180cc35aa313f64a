"""Record a run for the training time machine: ``python -m tests.benchmarks.training_record digits``.

Trains a preset and writes, at the steps of a logarithmic scale, samples from the same noise and guesses of the same
noisy test images, with the average of the weights; and the loss curve. The files are those of
``ddpm_lesson/lesson/ch10_training/record.py``.
"""

from pathlib import Path

import click
import torch

from ddpm_lesson import checkpoint, get_preset, load_images
from ddpm_lesson.lesson.ch10_training.record import FIRST_IMAGES, GUESS_TIMES, SAMPLE_STEPS, Record, look, question
from ddpm_lesson.runtime import assets_folder
from ddpm_lesson.train import TrainState, train

MARKS = sorted({m * 10**k for m in (1, 3) for k in range(6)})


@click.command()
@click.argument("preset")
@click.option("--stop-at", type=int, help="Stop after so many steps.  [default: the preset's train_steps]")
@click.option("--every", default=1, show_default=True, help="Steps between two points of the loss curve, their mean.")
@click.option("--out", type=click.Path(path_type=Path), default=assets_folder() / "training", help="Folder to write.")
@click.option("--also", multiple=True, help="Checkpoints of the same run, later, to look at as well.")
@click.option("--device", default="auto", show_default=True)
def main(preset: str, stop_at: int | None, every: int, out: Path, also: tuple[str, ...], device: str) -> None:
    """Train and record; the files are written anew at every mark."""
    config = get_preset(preset)
    stop_at = stop_at or config.train_steps
    dataset, test = load_images(config.data), load_images(config.data, "test")
    state = TrainState(config, dataset.shape, device)
    asked = question(state.diffusion, test[:FIRST_IMAGES])
    command = f"python -m tests.benchmarks.training_record {preset} --stop-at {stop_at} --every {every}"
    info = {"command": command, "seed": config.seed, "times": GUESS_TIMES, "sample_steps": SAMPLE_STEPS}
    record, pending = Record({"data": config.data, "torch": torch.__version__.split("+")[0], **info}, asked.xt), []
    for step in train(state, dataset):
        pending.append(step.loss)
        if step.step % every == 0 or step.step == stop_at:
            record.losses.append((step.step, float(torch.stack(pending).mean())))
            pending = []
        if step.step in MARKS or step.step == stop_at:
            record.steps.append(step.step)
            record.looks.append(look(state.averaged(), asked))
            record.save(out, preset)
            click.echo(f"{preset}: step {step.step} of {stop_at}")
        if step.step == stop_at:
            break
    for folder in also:
        record.steps.append(checkpoint.read_settings(folder)["step"])
        record.looks.append(look(checkpoint.load(folder, device), asked))
    record.save(out, preset)


if __name__ == "__main__":
    main()
