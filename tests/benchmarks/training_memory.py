"""How much memory do the presets take? ``python -m tests.benchmarks.training_memory`` measures and writes it down."""

import json
import weakref
from pathlib import Path

import click
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

from ddpm_lesson.data import DATASETS
from ddpm_lesson.lesson.ch10_training.memory import MemoryNeeds, measure_memory
from ddpm_lesson.pictures import markdown_table
from ddpm_lesson.runtime import assets_folder
from ddpm_lesson.sample import ddim_steps
from ddpm_lesson.train import PRESETS, TrainConfig, build_diffusion


class PeakMemory(TorchDispatchMode):
    """Inside the ``with`` block, counts the bytes of the tensors that are made there and still held.

    Attributes:
        now: bytes held at this moment.
        peak: the most that were held at once.
    """

    def __init__(self):
        super().__init__()
        self.now = self.peak = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        old = {x.untyped_storage().data_ptr() for x in tree_iter((args, kwargs)) if isinstance(x, Tensor)}
        result = function(*args, **(kwargs or {}))
        for x in tree_iter(result):
            if isinstance(x, Tensor) and (storage := x.untyped_storage()).data_ptr() not in old:
                self.add(storage.nbytes())
                weakref.finalize(storage, self.add, -storage.nbytes())
        return result

    def add(self, size: int) -> None:
        """So many bytes more are held; fewer if negative."""
        self.now += size
        self.peak = max(self.peak, self.now)


def measure_all(config: TrainConfig) -> MemoryNeeds:
    """What training and sampling one image take on the CPU."""
    shape = DATASETS[config.data]
    diffusion = build_diffusion(config, shape[0])
    with PeakMemory() as sampling:
        for _ in ddim_steps(diffusion, (1, *shape), n_steps=2):
            pass
    return measure_memory(config)._replace(sampled=sampling.peak)


@click.command()
@click.option("--out", type=click.Path(path_type=Path), default=assets_folder() / "training" / "memory.json")
def main(out: Path) -> None:
    """Measure one image of each preset on the CPU; print training and sampling at the preset's batch size."""
    measured = {name: measure_all(PRESETS[name]) for name in ("digits", "mnist", "cifar10")}
    stored = {
        "command": "python -m tests.benchmarks.training_memory",
        "torch": torch.__version__.split("+")[0],
        "unit": "bytes; kept and sampled are for one image",
        "presets": {name: memory._asdict() for name, memory in measured.items()},
    }
    out.write_text(json.dumps(stored, indent=2) + "\n", encoding="utf-8")
    rows = []
    for name, memory in measured.items():
        batch = PRESETS[name].batch_size
        sizes = [sum(memory.training(batch).values()), memory.sampling(batch)]
        rows.append((name, batch, *(f"{size / 1e9:.3f} GB" for size in sizes)))
    click.echo(markdown_table(("preset", "batch", "training", "sampling"), rows))


if __name__ == "__main__":
    main()
