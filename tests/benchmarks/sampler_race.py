"""Quality against network evaluations for several samplers, one model: ``python -m tests.benchmarks.sampler_race``.

Writes its part of ``assets/sampler_race.json``, which notebook 11 draws; with ``--samplers`` and ``--out`` also that of
``assets/solver_race.json``, which notebook 15 draws. Quality is the Frechet distance between samples and real training
images on the features of the shipped classifier. MNIST is downloaded into ``DDPM_DATA`` if it is not there. Samples are
kept in ``runs/race``, so an interrupted run goes on where it stopped.
"""

import json
from pathlib import Path
from typing import Any

import click
import torch

from ddpm_lesson import checkpoint, get_device, runtime
from ddpm_lesson.lesson.ch11_sampling.race import SAMPLERS, Sampler
from ddpm_lesson.pictures import markdown_table
from ddpm_lesson.sample import dpm_steps, final_samples, heun_steps
from tests.benchmarks.sampling import sample_in_batches
from tests.benchmarks.yardstick import Yardstick, evaluations

RACERS: dict[str, Sampler] = {  # name -> steps(diffusion, shape, evaluations at most, generator)
    **SAMPLERS,
    "heun": lambda model, shape, n, generator: heun_steps(model, shape, (n + 1) // 2, generator),
    "dpm": dpm_steps,
}


def read(out: Path) -> dict:
    """The races so far, by model, number of samples and seed."""
    return json.loads(out.read_text(encoding="utf-8")) if out.exists() else {}


def names(text: str) -> list[str]:
    """``"ddim,dpm"`` -> their names; a click error for one that does not race."""
    if unknown := [name for name in text.split(",") if name not in RACERS]:
        raise click.BadParameter(f"samplers must be of {', '.join(RACERS)}; got {unknown[0]!r}")
    return text.split(",")


class Track:
    """What all laps of a race have in common."""

    def __init__(self, model: str, device: torch.device, n: int, seed: int, batch_size: int, work: Path):
        self.diffusion, self.folder = checkpoint.load(model, device), checkpoint.find(model)
        self.shape, self.n, self.work = checkpoint.image_shape(model), n, work
        self.settings = {"step": checkpoint.read_settings(self.folder)["step"], "seed": seed, "batch_size": batch_size}
        self.stick = Yardstick(checkpoint.load_config(self.folder).data, "classifier", device)

    @property
    def name(self) -> str:
        """What the file calls the race."""
        seed = self.settings["seed"]
        return f"{self.folder.name}, {self.n:,} samples" + (f", seed {seed}" if seed else "")

    def go_on(self, race: dict) -> dict:
        """The race that there is, if it has the same settings, else a new one; with the floor."""
        same = race.get("settings") == self.settings
        return {"floor": None, "laps": []} | (race if same else {"settings": self.settings}) | self.stick.floor(self.n)

    def lap(self, sampler: str, steps: int) -> dict[str, Any]:
        """Draw the samples, unless they are on disk, and measure them."""
        samples = sample_in_batches(
            lambda shape, generator: final_samples(RACERS[sampler](self.diffusion, shape, steps, generator)),
            (self.n, *self.shape),
            self.work / f"{self.folder.name}-{self.settings['step']}-{sampler}-{steps}",
            batch_size=self.settings["batch_size"],
            seed=self.settings["seed"],
            label=f"{sampler}, {steps} steps",
        )
        one = (1, *self.shape), steps, torch.Generator()
        asked = evaluations(self.diffusion.eps_model, lambda: final_samples(RACERS[sampler](self.diffusion, *one)))
        return {"sampler": sampler, "steps": steps, "evaluations": asked, "distance": self.stick.distance(samples)}


@click.command()
@click.option("--model", default="mnist", show_default=True, help="Checkpoint folder or shipped weights.")
@click.option("--n", default=1000, show_default=True, help="Samples of every lap.")
@click.option(
    "--steps", default="10,20,50,100,1000", show_default=True, help="Numbers of steps; Heun takes half as many."
)
@click.option("--samplers", default=",".join(SAMPLERS), show_default=True, help=f"Out of {', '.join(RACERS)}.")
@click.option("--seed", default=0, show_default=True)
@click.option("--batch-size", default=250, show_default=True)
@click.option("--device", default="auto", show_default=True)
@click.option("--work", type=click.Path(path_type=Path), default=Path("runs/race"), show_default=True)
@click.option("--out", type=click.Path(path_type=Path), default=runtime.assets_folder() / "sampler_race.json")
def main(
    model: str,
    n: int,
    steps: str,
    samplers: str,
    seed: int,
    batch_size: int,
    device: str,
    work: Path,
    out: Path,
) -> None:
    """Run every lap that is not in the file yet, few steps first."""
    racers = names(samplers)
    track = Track(model, get_device(device), n, seed, batch_size, work)
    race = track.go_on(read(out).get(track.name, {}))
    done = {(lap["sampler"], lap["steps"]) for lap in race["laps"]}
    wanted = [(name, n_steps) for n_steps in map(int, steps.split(",")) for name in racers]
    for sampler, n_steps in (lap for lap in wanted if lap not in done):
        race["laps"].append(lap := track.lap(sampler, n_steps))
        out.write_text(json.dumps({**read(out), track.name: race}, indent=1) + "\n", encoding="utf-8")
        click.echo(f"{sampler}, {n_steps} steps: {lap['distance']:.4g}", err=True)
    rows = [(lap["sampler"], lap["steps"], f"{lap['distance']:.4g}") for lap in race["laps"]]
    click.echo(markdown_table(["sampler", "steps", "Frechet distance"], rows))
    if race["floor"]:
        click.echo(f"real test images instead of samples: {race['floor']:.4g} ± {race['floor_spread']:.2g}")


if __name__ == "__main__":
    main()
