"""Quality against network evaluations for three samplers, one model: ``python -m tests.benchmarks.sampler_race``.

Writes its part of ``assets/sampler_race.json``, which notebook 11 draws. Quality is the Frechet distance between
samples and real training images on the features of the shipped classifier. MNIST is downloaded into ``DDPM_DATA`` if it
is not there. Samples are kept in ``runs/race``, so an interrupted run goes on where it stopped.
"""

import json
from pathlib import Path
from statistics import mean

import click

from ddpm_lesson import checkpoint, get_device, load_images, runtime
from ddpm_lesson.evaluate import distance_of_features, extractor, features_of, moments, random_subset
from ddpm_lesson.lesson.ch11_sampling.race import SAMPLERS
from ddpm_lesson.pictures import markdown_table
from ddpm_lesson.sample import final_samples
from tests.benchmarks.evaluation import floors_of, spread
from tests.benchmarks.sampling import sample_in_batches

N_REAL = 10_000  # training images to compare with, at most


def read(out: Path) -> dict:
    """The races so far, by model and number of samples."""
    return json.loads(out.read_text()) if out.exists() else {}


@click.command()
@click.option("--model", default="mnist", show_default=True, help="Checkpoint folder or shipped weights.")
@click.option("--n", default=1000, show_default=True, help="Samples of every lap.")
@click.option("--steps", default="10,20,50,100,1000", show_default=True, help="Numbers of steps.")
@click.option("--seed", default=0, show_default=True)
@click.option("--batch-size", default=250, show_default=True)
@click.option("--compile/--no-compile", "compiled", default=False, show_default=True, help="Faster after a minute.")
@click.option("--device", default="auto", show_default=True)
@click.option("--work", type=click.Path(path_type=Path), default=Path("runs/race"), show_default=True)
@click.option("--out", type=click.Path(path_type=Path), default=runtime.assets_folder() / "sampler_race.json")
def main(
    model: str, n: int, steps: str, seed: int, batch_size: int, compiled: bool, device: str, work: Path, out: Path
) -> None:
    """Run every lap that is not in the file yet, few steps first."""
    device = get_device(device)
    diffusion = checkpoint.load(model, device)
    if compiled:
        diffusion.eps_model.compile()
    folder = checkpoint.find(model)
    shape = checkpoint.image_shape(model)
    train, test = (load_images(checkpoint.load_config(folder).data, split)[:] for split in ("train", "test"))
    features = extractor("classifier", shape)
    real = features_of(features, random_subset(train, min(N_REAL, len(train))), device)
    settings = {"step": checkpoint.read_settings(folder)["step"], "seed": seed, "batch_size": batch_size}
    name = f"{folder.name}, {n:,} samples"
    race = read(out).get(name, {})
    if race.get("settings") != settings:  # laps of other settings are not continued
        race = {"settings": settings, "floor": None, "laps": []}
    if n <= len(test):
        floors = floors_of(moments(real), features_of(features, test, device), n)
        race |= {"floor": mean(floors), "floor_spread": spread(floors)}
    done = {(lap["sampler"], lap["steps"]) for lap in race["laps"]}
    for n_steps in map(int, steps.split(",")):
        for sampler in SAMPLERS:
            if (sampler, n_steps) in done:
                continue
            samples = sample_in_batches(
                lambda shape, generator, go=SAMPLERS[sampler], n_steps=n_steps: final_samples(
                    go(diffusion, shape, n_steps, generator)
                ),
                (n, *shape),
                work / f"{folder.name}-{settings['step']}-{sampler}-{n_steps}",
                batch_size=batch_size,
                seed=seed,
                label=f"{sampler}, {n_steps} steps",
            )
            distance = distance_of_features(real, features_of(features, samples, device))
            race["laps"].append({"sampler": sampler, "steps": n_steps, "distance": distance})
            out.write_text(json.dumps({**read(out), name: race}, indent=1) + "\n")
            click.echo(f"{sampler}, {n_steps} steps: {distance:.4g}", err=True)
    rows = [(lap["sampler"], lap["steps"], f"{lap['distance']:.4g}") for lap in race["laps"]]
    click.echo(markdown_table(["sampler", "steps", "Frechet distance"], rows))
    if race["floor"]:
        click.echo(f"real test images instead of samples: {race['floor']:.4g} ± {race['floor_spread']:.2g}")


if __name__ == "__main__":
    main()
