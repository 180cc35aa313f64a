"""Time to quality: which change of a preset makes good samples soonest? ``python -m tests.benchmarks.quality --help``.

One factor at a time around the presets ``digits`` and ``mnist``, then the best together. Every variant has the same
budget in processor seconds of one thread. How many steps these are is measured first, the variant's step in turns with
the preset's, so that other work on the machine changes no result and a seed says everything: the same steps give the
same weights. At a quarter, half and all of the budget the running average draws samples from noise that training never
saw, and the Frechet distance of their features (those of the shipped classifier) from the training images' judges them.

    OMP_NUM_THREADS=1 python -m tests.benchmarks.quality train digits --seeds 0,1,2
    OMP_NUM_THREADS=1 DDPM_DATA=folder python -m tests.benchmarks.quality train mnist --seeds 0
    python -m tests.benchmarks.quality report

Every run is a line of ``runs/quality.jsonl`` and is not made again; ``report`` gathers them into ``quality.json`` and
``quality.png`` in ``assets`` and prints the tables.
"""

import functools
import json
import math
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import mean, median
from typing import Any

import click
import torch
from torch.nn import functional as F

from ddpm_lesson import get_preset, load_images
from ddpm_lesson.bound import min_snr_weights
from ddpm_lesson.data import ImageDataset
from ddpm_lesson.evaluate import expected_floor
from ddpm_lesson.lesson.kit.colours import BLUE, GREEN, GREY, ORANGE, PINK
from ddpm_lesson.lesson.kit.probe import fresh_generator
from ddpm_lesson.pictures import markdown_table
from ddpm_lesson.runtime import assets_folder, autocast
from ddpm_lesson.sample import dpm_steps, final_samples
from ddpm_lesson.train import TrainConfig, TrainState, train
from tests.benchmarks.evaluation import floors_of, spread
from tests.benchmarks.yardstick import Yardstick

SHARES = (0.25, 0.5, 1.0)  # of the budget, at which a run is judged
FINE = 50  # evaluations of the network with which DPM-Solver++ is as good as it gets
ROUNDS = 8  # steps in turns that say what one costs
CPU = torch.device("cpu")
RUNS = click.option("--runs", type=click.Path(path_type=Path), default=Path("runs/quality.jsonl"), show_default=True)


@dataclass(frozen=True)
class Variant:
    """What is not as in the preset."""

    changes: dict[str, Any] = field(default_factory=dict)  # settings of ``TrainConfig``
    min_snr: bool = False  # weigh the times by ``min_snr_weights``
    patch: int = 1  # pixels a side of the squares that become channels


def with_levels(*mults: int, attention: int = 1, **more: Any) -> Variant:
    """Other widths of the levels, attention in the last of them only."""
    is_attn = (False,) * (len(mults) - attention) + (True,) * attention
    return Variant({"ch_mults": mults, "is_attn": is_attn, **more})


COSINE_V = {"schedule": "cosine", "prediction": "v"}
VARIANTS = {
    "digits": {
        "preset": Variant(),
        "width 16": Variant({"n_channels": 16}),
        "width 24": Variant({"n_channels": 24}),
        "width 48": Variant({"n_channels": 48}),
        "narrow top (16, 64)": with_levels(1, 4, n_channels=16),
        "levels (1, 1)": with_levels(1, 1),
        "levels (1, 2, 2)": with_levels(1, 2, 2),
        "no attention": with_levels(1, 2, attention=0),
        "attention everywhere": with_levels(1, 2, attention=2),
        "two blocks a level": Variant({"n_blocks": 2}),
        "patches of 2": replace(with_levels(2), patch=2),
        "min-SNR": Variant(min_snr=True),
        "x0": Variant({"prediction": "x0"}),
        "v": Variant({"prediction": "v"}),
        "v, min-SNR": Variant({"prediction": "v"}, min_snr=True),
        "cosine": Variant({"schedule": "cosine"}),
        "cosine, v": Variant(COSINE_V),
        "cosine, v, T = 200": Variant({**COSINE_V, "n_steps": 200}),
        "cosine, v, width 16": Variant({**COSINE_V, "n_channels": 16}),
        "cosine, v, width 16, batch 32": Variant({**COSINE_V, "n_channels": 16, "batch_size": 32}),
        "cosine, v, width 16, rate 0.004": Variant({**COSINE_V, "n_channels": 16, "lr": 4e-3}),
        "decay 0.95": Variant({"ema_decay": 0.95}),
        "decay 0.999": Variant({"ema_decay": 0.999}),
        "rate 0.001": Variant({"lr": 1e-3}),
        "rate 0.004": Variant({"lr": 4e-3}),
        "batch 32": Variant({"batch_size": 32}),
        "batch 128": Variant({"batch_size": 128}),
    },
    "mnist": {
        "preset": Variant(),
        "cosine": Variant({"schedule": "cosine"}),
        "cosine, v": Variant(COSINE_V),
        "cosine, v, width 16": Variant({**COSINE_V, "n_channels": 16}),
        "width 16": Variant({"n_channels": 16}),
        "patches of 2": replace(with_levels(2, 4), patch=2),
        "narrow top (12, 48, 96)": with_levels(1, 4, 8, n_channels=12, n_groups=4),
        "rate 0.002": Variant({"lr": 2e-3}),
        "batch 16": Variant({"batch_size": 16}),
        "min-SNR": Variant(min_snr=True),
    },
}


@dataclass(frozen=True)
class Study:
    """How the variants of one data set are compared."""

    seconds: float  # of a processor, for every run
    n: int  # samples that judge a run
    evaluations: int  # of the network, with DPM-Solver++
    n_real: int  # training images to compare with
    n_floor: int  # test images in the floor
    settings: dict[str, Any]  # of every variant, because the run is short


STUDIES = {
    "digits": Study(31.0, 500, 12, 1500, 200, {"warmup_steps": 20, "mixed_precision": "no"}),
    "mnist": Study(300.0, 500, 10, 10_000, 500, {"warmup_steps": 50, "mixed_precision": "no"}),
}


# A run


def folded(dataset: ImageDataset, patch: int) -> ImageDataset:
    """The same images with every square of ``patch`` x ``patch`` pixels as channels: (N, C p^2, H / p, W / p).

    Noise stays independent noise, so nothing else changes; the first convolution of 3 x 3 sees 3 p x 3 p pixels.
    """
    return ImageDataset(F.pixel_unshuffle(dataset.images, patch), dataset.labels, dataset.classes)


def config_of(data: str, variant: Variant, steps: int, seed: int) -> TrainConfig:
    """The preset with the changes of a variant, its learning rate falling over the last third."""
    settings = STUDIES[data].settings | variant.changes
    return get_preset(data, train_steps=steps, cooldown_steps=max(1, steps // 3), seed=seed, **settings)


def begin(config: TrainConfig, variant: Variant, shape: tuple[int, int, int]) -> TrainState:
    """A run before its first step, for images of ``shape`` after folding."""
    state = TrainState(config, shape, CPU)
    if variant.min_snr:  # the loop asks for the loss, and knows nothing of weights
        weights = min_snr_weights(state.diffusion.schedule, config.prediction)
        state.diffusion.loss = functools.partial(state.diffusion.loss, weights=weights)
    return state


class Judge(Yardstick):
    """Frechet distance of samples from training images, on the features of the shipped classifier."""

    def __init__(self, data: str, images: ImageDataset):
        super().__init__(data, n_real=STUDIES[data].n_real)
        self.study, self.shape = STUDIES[data], images.shape

    def of_run(self, state: TrainState, patch: int, seed: int, evaluations: int) -> float:
        """That of samples of the running average, drawn with so many evaluations of the network."""
        C, H, W = self.shape
        diffusion, generator = state.averaged(), fresh_generator(seed)
        with torch.no_grad(), autocast(state.config.mixed_precision, CPU):
            shape = (self.study.n, C * patch**2, H // patch, W // patch)
            samples = final_samples(dpm_steps(diffusion, shape, evaluations, generator))
        return self.distance(F.pixel_shuffle(samples.float(), patch))


def step_seconds(data: str, variant: Variant, images: ImageDataset) -> tuple[float, float]:
    """Processor seconds of a step of the preset and of a variant, medians of steps taken in turns."""
    runs: list[Iterator] = []
    for one in (Variant(), variant):
        dataset = folded(images, one.patch)
        runs.append(train(begin(config_of(data, one, 10_000, 0), one, dataset.shape), dataset))
    taken: list[list[float]] = [[], []]
    for _ in range(ROUNDS + 1):
        for run, found in zip(runs, taken, strict=True):
            start = time.process_time()
            next(run)
            found.append(time.process_time() - start)
    preset, changed = (median(found[1:]) for found in taken)  # the first step also prepares
    return preset, changed


def make_run(
    data: str, name: str, seed: int, steps: int, images: ImageDataset, judge: Judge, *, fine: bool = False
) -> dict:
    """Train a variant for so many steps; what it reached at every share of them, and the processor seconds it took.

    ``fine``: at the end also what it reaches with ``FINE`` evaluations, where the sampler hardly counts.
    """
    variant = VARIANTS[data][name]
    dataset = folded(images, variant.patch)
    state = begin(config_of(data, variant, steps, seed), variant, dataset.shape)
    marks, found, used, start = [max(1, round(s * steps)) for s in SHARES], [], 0.0, time.process_time()
    for step in train(state, dataset):
        if step.step in marks:  # for several shares, if the steps are few
            used += time.process_time() - start
            distance = judge.of_run(state, variant.patch, seed, judge.study.evaluations)
            mark = {"step": step.step, "used": round(used, 2), "distance": round(distance, 3)}
            found += [mark] * marks.count(step.step)
            start = time.process_time()
    parameters = sum(p.numel() for p in state.diffusion.parameters())
    line = {"kind": "run", "data": data, "variant": name, "seed": seed, "parameters": parameters, "marks": found}
    return {**line, "fine": round(judge.of_run(state, variant.patch, seed, FINE), 3)} if fine else line


# The file of runs


def lines_of(runs: Path, kind: str, data: str) -> list[dict]:
    """What the file holds of one kind and data set."""
    lines = [json.loads(line) for line in runs.read_text(encoding="utf-8").splitlines()] if runs.exists() else []
    return [line for line in lines if (line["kind"], line["data"]) == (kind, data)]


def add_line(runs: Path, line: dict) -> None:
    """Write one more."""
    runs.parent.mkdir(parents=True, exist_ok=True)
    with runs.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


def steps_of(data: str, name: str, runs: Path, images: ImageDataset) -> int:
    """The steps that the budget pays; a step's cost is measured once, relative to the preset's, and kept."""
    costs = {line["variant"]: line for line in lines_of(runs, "cost", data)}
    if name not in costs:
        preset, changed = step_seconds(data, VARIANTS[data][name], images)
        ratio = 1.0 if name == "preset" else changed / preset
        costs[name] = {"kind": "cost", "data": data, "variant": name, "preset": preset, "ratio": ratio}
        add_line(runs, costs[name])
    return round(STUDIES[data].seconds / (costs["preset"]["preset"] * costs[name]["ratio"]))


# The report


def summary(data: str, runs: Path) -> list[dict]:
    """A row a variant, best first: cost of a step, steps, mean and spread at every mark, gain over the preset.

    ``seconds_to_goal``: when it is where the preset ends. No rows before the preset has run.
    """
    costs = {line["variant"]: line["ratio"] for line in lines_of(runs, "cost", data)}
    by_name: dict[str, dict[int, dict]] = {}
    for line in lines_of(runs, "run", data):
        by_name.setdefault(line["variant"], {})[line["seed"]] = line
    if "preset" not in by_name:
        return []
    rows = []
    for name, found in by_name.items():
        some, final = next(iter(found.values())), {seed: line["marks"][-1]["distance"] for seed, line in found.items()}
        at = zip(*([mark["distance"] for mark in line["marks"]] for line in found.values()), strict=True)
        both = sorted(found.keys() & by_name["preset"].keys())  # seeds that the preset has too
        gains = [by_name["preset"][seed]["marks"][-1]["distance"] - final[seed] for seed in both]
        row = {"variant": name, "parameters": some["parameters"], "cost": round(costs[name], 3)}
        row |= {"steps": some["marks"][-1]["step"], "seeds": sorted(found), "marks": [*map(spread_of, at)]}
        fine = spread_of([line["fine"] for line in found.values() if "fine" in line])
        rows.append({**row, "fine": fine, "gain": spread_of(gains)})
    goal = next(row["marks"][-1]["mean"] for row in rows if row["variant"] == "preset")
    seconds = [share * STUDIES[data].seconds for share in SHARES]
    for row in rows:
        reached = seconds_to(goal, seconds, [mark["mean"] for mark in row["marks"]])
        row["seconds_to_goal"] = None if reached is None else round(reached, 1)
    return sorted(rows, key=lambda row: row["marks"][-1]["mean"])


def seconds_to(goal: float, seconds: Sequence[float], distances: Sequence[float]) -> float | None:
    """When a run first reaches a distance, between two marks along the straight line of the picture; None if never."""
    if distances[0] <= goal:
        return seconds[0]  # or earlier
    for i in range(1, len(seconds)):
        if distances[i] <= goal:
            share = math.log(distances[i - 1] / goal) / math.log(distances[i - 1] / distances[i])
            return seconds[i - 1] * (seconds[i] / seconds[i - 1]) ** share
    return None


def spread_of(values: Iterable[float]) -> dict | None:
    """Mean, standard deviation of one and number of values; None of none."""
    values = list(values)
    if not values:
        return None
    return {"mean": round(mean(values), 2), "spread": round(spread(values), 2), "n": len(values)}


def told(found: dict | None) -> str:
    """The same in a table."""
    if not found:
        return ""
    return f"{found['mean']:.1f}" + (f" ± {found['spread']:.1f}" if found["n"] > 1 else "")


def floor_of(data: str) -> dict:
    """What real images would have: unseen ones instead of samples, and as many of the training images' Gaussian."""
    study, images = STUDIES[data], load_images(data)
    judge = Judge(data, images)
    floors = floors_of(judge.real, judge.unseen, study.n_floor)
    same = float(expected_floor(judge.real.cov, min(study.n_real, len(images)), study.n))
    values = {"mean": mean(floors), "spread": spread(floors), "draws": len(floors), "n": study.n_floor}
    return {**values, "expected_at_n_samples": same}


def print_tables(data: str, record: dict) -> None:
    """The variants, best first."""
    header = ["variant", "a step costs", "steps", "seeds", *(f"at {record['seconds'] * s:g} s" for s in SHARES)]
    header += [f"{FINE} evaluations", "gain", "where the preset ends after"]
    rows = [
        [
            *(row["variant"], f"{row['cost']:.2f} x", row["steps"], len(row["seeds"])),
            *map(told, [*row["marks"], row["fine"], row["gain"]]),
            f"{row['seconds_to_goal']:.0f} s" if row["seconds_to_goal"] else "never",
        ]
        for row in record["variants"]
    ]
    click.echo(f"\n{data}: {record['floor']}\n\n{markdown_table(header, rows)}\n\nnot made: {record['not_made']}\n")


def draw(records: dict[str, dict], out: Path) -> None:
    """Distance against processor seconds, a line a variant: the preset and the best in colour, the others grey."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5 * len(records), 4.6), layout="constrained")
    for axes, (data, record) in zip(figure.subplots(1, len(records), squeeze=False)[0], records.items(), strict=True):
        draw_lines(axes, record)
        axes.set(title=data, xlabel="processor seconds of training, one thread")
    figure.axes[0].set_ylabel("Frechet distance")
    figure.savefig(out, dpi=130)


def draw_lines(axes: Any, record: dict) -> None:
    """The part of one data set."""
    seconds, rows = [share * record["seconds"] for share in SHARES], record["variants"]
    best = [row["variant"] for row in rows if row["variant"] != "preset"][:3]
    colours = {"preset": ORANGE, **dict(zip(best, (BLUE, GREEN, PINK), strict=False))}
    for row in rows:
        colour = colours.get(row["variant"])
        means, spreads = ([mark[part] for mark in row["marks"]] for part in ("mean", "spread"))
        if colour is None:
            axes.plot(seconds, means, color=GREY, alpha=0.35, linewidth=1)
            continue
        label = f"{row['variant']} ({len(row['seeds'])} {'seed' if len(row['seeds']) == 1 else 'seeds'})"
        axes.errorbar(seconds, means, spreads, color=colour, marker="o", linewidth=2, capsize=3, zorder=3, label=label)
    floor = record["floor"]["mean"]
    axes.axhline(floor, color="black", linestyle=":", linewidth=1)
    axes.annotate(
        "unseen images instead of samples", (seconds[0], floor), (0, 3), textcoords="offset points", fontsize=8
    )
    axes.set(xscale="log", yscale="log")
    axes.set_xticks(seconds, [f"{s:g}" for s in seconds])
    low, high = axes.get_ylim()
    ticks = [m * 10**k for k in range(4) for m in (1, 2, 5) if low < m * 10**k < high]
    axes.set_yticks(ticks, map(str, ticks))
    axes.minorticks_off()
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8, loc="lower left", bbox_to_anchor=(0, 0.08))


# The command line


def seeds_of(text: str) -> list[int]:
    """``"0,1,2"`` as numbers."""
    return [int(seed) for seed in text.split(",")]


@click.group(help=__doc__.split("\n\n")[0])
def main() -> None:
    torch.set_num_threads(1)


@main.command("train")
@click.argument("data", type=click.Choice(list(STUDIES)))
@click.option("--seeds", default="0,1,2", show_default=True)
@click.option("--only", multiple=True, help="Variants.  [default: all]")
@click.option("--fine", is_flag=True, help=f"At the end judge samples with {FINE} evaluations as well.")
@RUNS
def train_variants(data: str, seeds: str, only: Iterable[str], fine: bool, runs: Path) -> None:
    """Make the runs that the file does not hold yet, seed by seed."""
    if unknown := set(only) - VARIANTS[data].keys():
        raise click.BadParameter(f"{', '.join(unknown)}: the variants of {data} are {'; '.join(VARIANTS[data])}")
    images = load_images(data)
    judge = Judge(data, images)
    for seed in seeds_of(seeds):
        for name in only or VARIANTS[data]:
            if any((line["variant"], line["seed"]) == (name, seed) for line in lines_of(runs, "run", data)):
                continue
            steps_of(data, "preset", runs, images)
            line = make_run(data, name, seed, steps_of(data, name, runs, images), images, judge, fine=fine)
            add_line(runs, line)
            click.echo(f"{data}, {name}, seed {seed}: {[mark['distance'] for mark in line['marks']]}")


@main.command()
@click.option("--out", type=click.Path(path_type=Path), default=assets_folder(), help="Folder to write.")
@RUNS
def report(out: Path, runs: Path) -> None:
    """Gather the runs, write ``quality.json`` and ``quality.png``, print the tables."""
    records = {}
    for data, study in STUDIES.items():
        if variants := summary(data, runs):
            used = {name: getattr(study, name) for name in ("seconds", "n", "evaluations", "n_real")}
            preset = next(line["preset"] for line in lines_of(runs, "cost", data) if line["variant"] == "preset")
            settings = {**used, "seconds_of_a_step_of_the_preset": round(preset, 4), "floor": floor_of(data)}
            made = {row["variant"] for row in variants}
            settings["not_made"] = [name for name in VARIANTS[data] if name not in made]
            records[data] = {**settings, "variants": variants}
            print_tables(data, records[data])
    (out / "quality.json").write_text(json.dumps(records, indent=1) + "\n", encoding="utf-8")
    draw(records, out / "quality.png")


if __name__ == "__main__":
    main()
