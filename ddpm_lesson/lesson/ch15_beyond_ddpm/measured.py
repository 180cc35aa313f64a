"""What was measured beforehand, because it takes minutes; ``assets/README.md`` says how to measure it anew."""

from collections import defaultdict
from typing import NamedTuple

from ddpm_lesson.lesson.kit.stored import stored

SAMPLERS = {
    "ddim": "DDIM (Euler)",
    "heun": "Heun",
    "dpm": "DPM-Solver++(2M)",
    "posterior": "DDPM, sigma² = beta_tilde",
}
MODELS = {"eps": "DDPM", "flow": "flow"}
Curves = dict[str, list[tuple[int, list[float]]]]  # name -> evaluations, and a distance for every seed


class Measured(NamedTuple):
    """Distances by name and evaluations of the network, and what real images have in the place of samples."""

    curves: Curves
    floor: float

    def at(self, name: str, at_most: int) -> list[float]:
        """Distances, one a seed, of the lap with the most evaluations that are no more than ``at_most``."""
        return [distances for n, distances in self.curves[name] if n <= at_most][-1]


def gathered(laps: list[tuple[str, int, float]]) -> Curves:
    """Laps of all seeds, (name, evaluations, distance), as curves in the order of their names."""
    curves: dict[str, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    for name, n, distance in laps:
        curves[name][n].append(distance)
    return {name: sorted(points.items()) for name, points in curves.items()}


def solver_race(model: str) -> Measured:
    """The race of notebook 11 with two more solvers, for ``"digits"`` or ``"mnist"``."""
    races = [race for name, race in stored("solver_race.json").items() if name.startswith(f"{model}, ")]
    laps = [(SAMPLERS[lap["sampler"]], lap["evaluations"], lap["distance"]) for race in races for lap in race["laps"]]
    curves = gathered(laps)
    return Measured({name: curves[name] for name in SAMPLERS.values()}, races[0]["floor"])


def flow_race() -> Measured:
    """A DDPM and a flow of the same network and training, each with a solver of first and one of second order."""
    record = stored("flow_race.json")
    laps = [(f"{MODELS[r['model']]}, {r['solver']}", r["evaluations"], r["distance"]) for r in record["rows"]]
    return Measured(gathered(laps), record["floor"])


def by_scale(what: str) -> dict[float, list[float]]:
    """What guided digits have of ``what`` (agreement, spread, classifier or pixels), one a seed, by scale."""
    found: dict[float, list[float]] = defaultdict(list)
    for row in stored("guidance.json")["rows"]:
        found[row["scale"]].append(row[what])
    return dict(found)


def in_real_units() -> dict[str, dict[float, list[float]]]:
    """``by_scale`` of all four over what real digits have: the training images, or for distances the floor."""
    record = stored("guidance.json")
    units = {"agreement": 1.0, "spread": record["real"]["train"]["spread"]}
    units |= {name: floor["floor"] for name, floor in record["floors"].items()}
    return {what: {s: [x / unit for x in xs] for s, xs in by_scale(what).items()} for what, unit in units.items()}
