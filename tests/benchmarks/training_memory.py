"""How much memory do the presets take? ``python -m tests.benchmarks.training_memory`` measures and writes it down."""

import json
from pathlib import Path

import click
import torch

from ddpm_lesson.lesson.ch10_training.memory import measure_memory
from ddpm_lesson.pictures import markdown_table
from ddpm_lesson.runtime import assets_folder
from ddpm_lesson.train import PRESETS


@click.command()
@click.option("--out", type=click.Path(path_type=Path), default=assets_folder() / "training" / "memory.json")
def main(out: Path) -> None:
    """Measure one image of each preset on the CPU; print training and sampling at the preset's batch size."""
    measured = {name: measure_memory(PRESETS[name]) for name in ("digits", "mnist", "cifar10")}
    stored = {
        "command": "python -m tests.benchmarks.training_memory",
        "torch": torch.__version__.split("+")[0],
        "unit": "bytes; kept and sampled are for one image",
        "presets": {name: memory._asdict() for name, memory in measured.items()},
    }
    out.write_text(json.dumps(stored, indent=2) + "\n")
    rows = []
    for name, memory in measured.items():
        batch = PRESETS[name].batch_size
        sizes = [sum(memory.training(batch).values()), memory.sampling(batch)]
        rows.append((name, batch, *(f"{size / 1e9:.3f} GB" for size in sizes)))
    click.echo(markdown_table(("preset", "batch", "training", "sampling"), rows))


if __name__ == "__main__":
    main()
