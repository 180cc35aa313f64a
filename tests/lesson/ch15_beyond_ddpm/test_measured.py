"""What notebook 15 draws from the files of ``assets``, and the scripts that write them."""

import pytest
import torch

from ddpm_lesson import checkpoint
from ddpm_lesson.lesson.ch15_beyond_ddpm import measured
from ddpm_lesson.lesson.ch15_beyond_ddpm.plots import errors_picture, guidance_picture
from ddpm_lesson.sample import final_samples
from tests.benchmarks import flow_race, guidance, sampler_race, yardstick
from tests.lesson.shown import drawn

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("file", ["guidance.json", "solver_race.json"])
def test_what_is_stored_is_of_the_shipped_weights(file):
    record = measured.stored(file)
    settings = {"digits_guided": record["settings"]} if file == "guidance.json" else {}
    settings |= {name.split(",")[0]: race["settings"] for name, race in record.items() if "laps" in race}
    for name, told in settings.items():
        assert told["step"] == checkpoint.read_settings(checkpoint.find(name))["step"]


def test_races_hold_a_distance_for_every_seed_and_count_evaluations():
    race = measured.solver_race("digits")
    assert {name: [n for n, _ in points] for name, points in race.curves.items()} == {
        name: [9, 19, 49] if name == "Heun" else [10, 20, 50] for name in measured.SAMPLERS.values()
    }
    assert all(len(distances) == 8 for points in race.curves.values() for _, distances in points)
    assert race.at("Heun", 10) == race.curves["Heun"][0][1]


def test_flow_and_ddpm_race_with_three_seeds_each_and_count_evaluations():
    race = measured.flow_race()
    assert {name: [n for n, _ in points] for name, points in race.curves.items()} == {
        "DDPM, DDIM": [5, 10, 20, 50],
        "DDPM, DPM-Solver++(2M)": [5, 10, 20, 50],
        "flow, Euler": [5, 10, 20, 50],
        "flow, Heun": [5, 9, 19, 49],
    }
    assert all(len(distances) == 3 for points in race.curves.values() for _, distances in points)


def test_laps_are_gathered_by_name_and_evaluations():
    laps = [("a", 20, 3.0), ("b", 10, 1.0), ("a", 10, 2.0), ("a", 20, 5.0)]
    assert measured.gathered(laps) == {"a": [(10, [2.0]), (20, [3.0, 5.0])], "b": [(10, [1.0])]}


def test_real_digits_are_the_unit():
    rows, real = measured.stored("guidance.json")["rows"], measured.in_real_units()
    assert {len(seeds) for values in real.values() for seeds in values.values()} == {8}
    row = rows[5]
    found = {what: values[row["scale"]][row["seed"]] for what, values in real.items()}
    floors = {name: floor["floor"] for name, floor in measured.stored("guidance.json")["floors"].items()}
    units = floors | {"agreement": 1, "spread": measured.stored("guidance.json")["real"]["train"]["spread"]}
    assert found == pytest.approx({what: row[what] / units[what] for what in found})


def test_pictures_say_their_numbers_and_draw_the_floor():
    alt = errors_picture({"left": {"a": [(1, [2.0, 4.0]), (2, 0.5)]}}, "distance", {"left": 0.25}).alt
    assert alt == "left: a 3 with 1, 0.5 with 2; real test images 0.25."
    picture = guidance_picture(measured.in_real_units())
    drawn(picture)
    assert "pixels 0.83 at 0" in picture.alt


def test_every_racer_asks_as_often_as_it_says():
    diffusion = checkpoint.load("digits", "cpu")
    for name, steps in sampler_race.RACERS.items():
        for at_most in (4, 5):
            draw = lambda go=steps, n=at_most: final_samples(go(diffusion, (1, 1, 8, 8), n, torch.Generator()))  # noqa: E731
            asked = 2 * ((at_most + 1) // 2) - 1 if name == "heun" else at_most
            assert yardstick.evaluations(diffusion.eps_model, draw) == asked


def test_flow_and_ddpm_are_trained_alike():
    one, other = (vars(flow_race.config_of(kind, 3)) for kind in flow_race.KINDS)
    assert {name for name in one if one[name] != other[name]} == {"prediction"}
    assert one["seed"] == 3


def test_spread_is_that_within_labels_and_not_between_them():
    labels = torch.arange(6) % 2
    images = 10.0 * labels.view(6, 1, 1, 1).expand(6, 1, 2, 2)
    assert guidance.spread_within(images, labels) == 0
    apart = images + torch.tensor([-1.0, -2, 0, 0, 1, 2]).view(6, 1, 1, 1)
    assert guidance.spread_within(apart, labels) == pytest.approx(((1 + 4) / 2) ** 0.5)


def test_a_yardstick_is_zero_on_its_own_images_and_has_a_floor():
    stick = yardstick.Yardstick("digits", "pixels")
    floor = stick.floor(200)
    assert floor["floor"] == pytest.approx(1.5575, rel=1e-3)
    assert stick.floor(298) == {}
    with pytest.raises(ValueError, match="images must hold more than 64 images"):
        stick.distance(torch.zeros(64, 1, 8, 8))
