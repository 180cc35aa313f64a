"""Flow against DDPM at equal budget and equal evaluations: ``python -m tests.benchmarks.flow_race``.

Trains one network on the digits for as many steps to guess noise, and to guess the velocity of straight paths, with
several seeds, and writes ``assets/flow_race.json``, which notebook 15 draws: Frechet distances from the training images
by the network's evaluations. The runs are kept in ``runs/flow_race``, and an interrupted one goes on.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from statistics import mean
from typing import Any

import click
import torch
from torch import Tensor

from ddpm_lesson import DenoiseDiffusion, checkpoint, get_preset, runtime
from ddpm_lesson.flow import FlowMatching, flow_steps
from ddpm_lesson.run import run
from ddpm_lesson.sample import ddim_steps, dpm_steps, final_samples
from ddpm_lesson.train import TrainConfig
from tests.benchmarks.evaluation import rounded
from tests.benchmarks.yardstick import Yardstick, evaluations

KINDS = ("eps", "flow")
Draw = Callable[[int, Tensor], Iterator[Any]]  # evaluations at most, noise to start from -> steps


def config_of(kind: str, seed: int) -> TrainConfig:
    """The preset of the shipped flow with another target and seed: all else is equal."""
    return replace(get_preset("digits_flow"), prediction=kind, seed=seed)


def solvers(model: DenoiseDiffusion | FlowMatching) -> dict[str, Draw]:
    """The two solvers of a trained model by name; Heun asks twice a step but for the last."""
    if isinstance(model, FlowMatching):
        euler = lambda n, x: flow_steps(model, x.shape, n, start=x)  # noqa: E731
        heun = lambda n, x: flow_steps(model, x.shape, (n + 1) // 2, solver="heun", start=x)  # noqa: E731
        return {"Euler": euler, "Heun": heun}
    ddim = lambda n, x: ddim_steps(model, x.shape, n, start=x)  # noqa: E731
    dpm = lambda n, x: dpm_steps(model, x.shape, n, start=x)  # noqa: E731
    return {"DDIM": ddim, "DPM-Solver++(2M)": dpm}


def laps(folder: Path, counts: list[int], stick: Yardstick, draws: int, n: int) -> list[dict]:
    """Mean distance over draws of ``n`` samples, by solver and evaluations; every model gets the same noise."""
    model, shape, found = checkpoint.load_any(folder, "cpu"), (n, *checkpoint.image_shape(folder)), []
    starts = [torch.randn(shape, generator=torch.Generator().manual_seed(10_000 + i)) for i in range(draws)]
    for name, steps in solvers(model).items():
        for count in counts:
            asked = evaluations(model.eps_model, lambda: final_samples(steps(count, starts[0][:1])))  # noqa: B023
            distance = mean(stick.distance(final_samples(steps(count, x))) for x in starts)
            found.append({"solver": name, "steps": count, "evaluations": asked, "distance": distance})
    return found


@click.command()
@click.option("--seeds", default="1,2,3", show_default=True, help="Of the trainings.")
@click.option("--counts", default="5,10,20,50", show_default=True, help="At most so many for a sample.")
@click.option("--draws", default=2, show_default=True, help="Sets of samples of every model.")
@click.option("--n", default=200, show_default=True, help="Samples in a set.")
@click.option("--work", type=click.Path(path_type=Path), default=Path("runs/flow_race"), show_default=True)
@click.option("--out", type=click.Path(path_type=Path), default=runtime.assets_folder() / "flow_race.json")
def main(seeds: str, counts: str, draws: int, n: int, work: Path, out: Path) -> None:
    """Train and measure what the file does not hold yet."""
    stick, config = Yardstick("digits"), config_of("flow", 0)
    settings = {"train_steps": config.train_steps, "batch_size": config.batch_size, "draws": draws, "n": n}
    record = json.loads(out.read_text(encoding="utf-8")) if out.exists() else {}
    if record.get("settings") != settings:
        record = {"settings": settings, **stick.floor(n), "rows": []}
    done = {(row["model"], row["seed"]) for row in record["rows"]}
    wanted = [(kind, seed) for seed in map(int, seeds.split(",")) for kind in KINDS]
    for kind, seed in (model for model in wanted if model not in done):
        run(config_of(kind, seed), folder := work / f"{kind}-{seed}", "cpu", resume=True)
        found = laps(folder, [int(count) for count in counts.split(",")], stick, draws, n)
        record["rows"] += [{"model": kind, "seed": seed} | lap for lap in found]
        out.write_text(json.dumps(rounded(record)) + "\n", encoding="utf-8")
        click.echo(f"{kind}, seed {seed}", err=True)


if __name__ == "__main__":
    main()
