"""What was measured of the shipped models beforehand (``assets/evaluation.json``), as tables and pictures."""

from collections.abc import Iterator
from functools import cache
from typing import Any

from torch import Tensor

from ddpm_lesson.data import load_images
from ddpm_lesson.evaluate import Judgement, expected_floor, extractor, features_of, moments
from ddpm_lesson.lesson.ch12_evaluation.plots import DistanceCurve, floors_picture, samplers_picture
from ddpm_lesson.lesson.kit.figure import Picture
from ddpm_lesson.lesson.kit.stored import stored
from ddpm_lesson.pictures import markdown_table

FEATURES = ("classifier", "random", "pixels")
SIZES = (150, 300, 1000, 3000, 10_000)  # where a formula is drawn


def records() -> dict[str, Any]:
    """What was measured of the shipped models, by their names."""
    return stored("evaluation.json")


def samplers(name: str, n: int = 1000) -> list[dict[str, Any]]:
    """Those of a model that drew ``n`` images."""
    return [sampler for sampler in records()[name]["samplers"] if sampler["n"] == n]


def largest(name: str) -> dict[str, Any]:
    """The sampler of a model that drew most."""
    return max(records()[name]["samplers"], key=lambda sampler: sampler["n"])


def words(sampler: dict[str, Any]) -> str:
    """Steps and eta."""
    return f"{sampler['steps']} steps, eta {sampler['eta']:g}"


@cache
def covariance(features: str) -> Tensor:
    """Of the digits' training images, (D, D)."""
    train = load_images("digits")
    return moments(features_of(extractor(features, train.shape), train[:])).cov


def with_floor(name: str, sampler: dict[str, Any]) -> Iterator[tuple[float, float]]:
    """(value, floor) for each kind of features; the floor is the mean of draws, or by (12.6) for the few digits."""
    for features, distance in zip(FEATURES, sampler["frechet"], strict=False):
        drawn, n = records()[name]["floor"][features], sampler["n"]
        if n in drawn["n"]:
            floor = drawn["distance"][drawn["n"].index(n)]
        else:
            floor = float(expected_floor(covariance(features), distance["n_real"], n))
        yield distance["value"], floor


def samplers_table(*names: str) -> str:
    """Every sampler of 1,000 images: distances with multiples of the floor, confidence, balance, copies."""
    rows = []
    for name in names:
        for sampler in samplers(name):
            said, copies = Judgement(**sampler["judgement"]), sampler["closeness"]["copies"]
            distances = [f"{value:.3g} ({value / floor:.1f})" for value, floor in with_floor(name, sampler)]
            rows.append(
                (name, words(sampler), *distances, f"{said.sure:.0%}", f"{said.chi_squared:.0f}", f"{copies:.1%}")
            )
    return markdown_table(["model", "sampler", *FEATURES, "above 0.9", "chi-squared", "copies"], rows)


def samplers_bars(name: str) -> Picture:
    """The same of one model as bars, with the classifier's features."""
    bars = [(words(s), *next(with_floor(name, s)), s["judgement"]["sure"]) for s in samplers(name)]
    real = records()[name]["judgement_real"]["sure"]
    return samplers_picture(bars, real, f"{name}, N = 1,000, classifier's features")


def ranking(name: str, features: str) -> str:
    """Samplers of 1,000 images, the nearest first."""
    i = FEATURES.index(features)
    return "; ".join(words(s) for s in sorted(samplers(name), key=lambda sampler: sampler["frechet"][i]["value"]))


def distances_over_n() -> Picture:
    """One sampler of the digits and one of MNIST over the number of images, with floors; the classifier's features."""
    expected = [float(expected_floor(covariance("classifier"), 1500, n)) for n in SIZES]
    drawn = records()["mnist"]["floor"]["classifier"]
    floors = {
        "digits": DistanceCurve("floor by (12.6)", SIZES, expected),
        "mnist": DistanceCurve("test images, mean of draws", drawn["n"], drawn["distance"]),
    }
    panes = {}
    for name, floor in floors.items():
        what = words(largest(name))
        same = [s for s in records()[name]["samplers"] if words(s) == what]
        n, distances = zip(*((s["n"], s["frechet"][0]["value"]) for s in same), strict=True)
        panes[name] = [floor, DistanceCurve(f"model, {what}", n, distances)]
    return floors_picture(panes, "classifier's features")


def report(name: str) -> str:
    """What to say of a model: the sampler that drew most, with all that it takes to read it."""
    best, record = largest(name), records()[name]
    value, floor = next(with_floor(name, best))
    distance, bits, said = best["frechet"][0], record["bits"], Judgement(**best["judgement"])
    return "\n    ".join(
        (
            f"{name}, {words(best)}",
            f"Frechet distance {value:.3g}, floor {floor:.2g}: {value / floor:.0f} times as much; "
            f"{distance['features']}, {distance['n_features']} features;",
            f"N = {best['n']:,} samples against {distance['n_real']:,} training images",
            f"at most {bits['total']:.2f} ± {bits['error']:.2f} bits/dim; {bits['n_images']} test images, all times",
            f"the classifier is sure of {said.sure:.0%} of the samples, "
            f"of {record['judgement_real']['sure']:.0%} of test images",
            f"classes: chi-squared {said.chi_squared:.0f} (9 if they are even); "
            f"copies: {best['closeness']['copies']:.1%}",
        )
    )


def race(sampler: str, steps: int) -> list[float]:
    """Distances of 200 digits of a solver, one a seed; a seed has the same starting noise for every number of steps."""
    races = [race["laps"] for name, race in stored("solver_race.json").items() if name.startswith("digits")]
    return [lap["distance"] for laps in races for lap in laps if (lap["sampler"], lap["steps"]) == (sampler, steps)]
