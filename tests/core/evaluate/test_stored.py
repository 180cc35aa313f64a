"""The stored measurements and the script that makes them."""

import json
from itertools import combinations
from statistics import mean, stdev

import pytest
import torch

from ddpm_lesson import checkpoint
from ddpm_lesson.evaluate import (
    distance_of_features,
    extractor,
    features_of,
    moments,
    random_subset,
)
from ddpm_lesson.runtime import assets_folder
from tests.benchmarks.evaluation import (
    DRAWS,
    FEATURES,
    floor_curves,
    floors_of,
    parse_samplers,
    read,
    rounded,
    spread,
    write,
)

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def stored():
    return json.loads((assets_folder() / "evaluation.json").read_text(encoding="utf-8"))


def test_stored_measurements_are_of_different_models(stored):
    assert set(stored) == {"digits", "mnist", "cifar10_small"}
    for part in ("bits", "samplers"):
        assert all(stored[a][part] != stored[b][part] for a, b in combinations(stored, 2))


@pytest.mark.parametrize(
    ("name", "shape", "n_real"),
    [("digits", (1, 8, 8), 1500), ("mnist", (1, 28, 28), 60_000), ("cifar10_small", (3, 32, 32), 50_000)],
)
def test_stored_measurements_fit_data_and_features(stored, name, shape, n_real):
    record = stored[name]
    assert record["bits"]["n_images"] == record["settings"]["bits_images"]
    assert record["settings"]["step"] == checkpoint.read_settings(checkpoint.find(name))["step"]
    assert record["bits"]["L_T"] + sum(record["bits"]["L_t"]) == pytest.approx(record["bits"]["total"], rel=1e-3)
    for row in record["samplers"]:
        assert sum(row["judgement"]["counts"]) == row["n"]
        measured = [extractor(features, shape) for features in FEATURES]
        enough = [features for features in measured if features.num_features < row["n"]]
        for expected, distance in zip(enough, row["frechet"], strict=True):
            assert (distance["features"], distance["n_features"]) == (expected.name, expected.num_features)
            assert (distance["n_real"], distance["n_generated"]) == (n_real, row["n"])


def test_the_script_reads_its_samplers_and_rounds_for_a_small_file():
    assert parse_samplers("50:1:10000,20:0.5:30") == [(50, 1.0, 10_000), (20, 0.5, 30)]
    assert rounded({"a": [1.23456789, 3], "b": (0.000123456,)}) == {"a": [1.2346, 3], "b": [0.00012346]}


def test_the_script_keeps_the_other_model_in_its_file(tmp_path):
    write(tmp_path / "a.json", "digits", {"n": 1})
    write(tmp_path / "a.json", "mnist", {"n": 2})
    write(tmp_path / "a.json", "digits", {"n": 3})
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8")) == {"digits": {"n": 3}, "mnist": {"n": 2}}


def test_the_script_goes_on_only_with_what_has_the_same_settings(tmp_path):
    out, record = tmp_path / "a.json", {"settings": {"step": 1}, "samplers": [{"n": 3}]}
    assert read(out, "digits", {"step": 1}) == {"settings": {"step": 1}, "samplers": []}
    write(out, "digits", record)
    assert read(out, "digits", {"step": 1}) == record
    assert read(out, "digits", {"step": 2}) == {"settings": {"step": 2}, "samplers": []}
    assert read(out, "mnist", {"step": 1}) == {"settings": {"step": 1}, "samplers": []}


def test_the_curve_of_the_floor_is_a_mean_over_draws_and_ends_where_the_images_do(digits):
    train, test = digits
    curve = floor_curves(train, test, torch.device("cpu"))["classifier"]
    assert curve["n"] == [150, 200]
    real, unseen = (features_of(extractor("classifier", (1, 8, 8)), x) for x in (train, test))
    floors = [distance_of_features(real, random_subset(unseen, 200, seed)) for seed in range(DRAWS)]
    assert curve["distance"][1] == pytest.approx(mean(floors), rel=1e-5)
    assert curve["spread"][1] == pytest.approx(stdev(floors), rel=1e-5)


def test_all_the_images_are_drawn_once(digits):
    _, test = digits
    features = test.flatten(1)
    assert floors_of(moments(features), features, len(test)) == pytest.approx([0], abs=1e-5)  # roots of rounding
    assert spread([1.0]) == 0
