"""Tables of what was measured beforehand: each number is that of the file, and floors come from where they should."""

from ddpm_lesson.evaluate import expected_floor
from ddpm_lesson.lesson.ch12_evaluation import stored


def test_floors_of_mnist_are_draws_and_those_of_the_digits_a_formula():
    digits, mnist = (stored.samplers(name)[0] for name in ("digits", "mnist"))
    floor = stored.records()["mnist"]["floor"]["classifier"]
    assert next(stored.with_floor("mnist", mnist))[1] == floor["distance"][floor["n"].index(1000)]
    formula = float(expected_floor(stored.covariance("classifier"), 1500, 1000))
    assert next(stored.with_floor("digits", digits)) == (digits["frechet"][0]["value"], formula)


def test_table_has_a_row_for_every_sampler_of_a_thousand():
    rows = stored.samplers_table("digits", "mnist").splitlines()[2:]
    assert len(rows) == 12
    assert rows[0].startswith("| digits | 10 steps, eta 0 | 42.6 (33.9)")
    assert rows[-1].endswith("| 89% | 26 | 0.3% |")


def test_ranking_goes_by_the_distance():
    ranked = stored.ranking("mnist", "classifier").split("; ")
    assert (ranked[0], ranked[-1]) == ("50 steps, eta 1", "10 steps, eta 0")
    assert ranked != stored.ranking("mnist", "pixels").split("; ")


def test_pictures_tell_the_numbers_of_the_table():
    assert "50 steps, eta 0: 28.5, 62%" in stored.samplers_bars("digits").alt
    assert "model, 20 steps, eta 1: 25.8 at 1,000, 20.7 at 10,000" in stored.distances_over_n().alt


def test_report_is_of_the_largest_set():
    assert "20.7, floor 3: 7 times as much" in stored.report("mnist")
    assert "N = 10,000 samples against 60,000" in stored.report("mnist")
    assert "N = 1,000 samples" in stored.report("cifar10_small")


def test_race_has_a_distance_for_every_seed_in_their_order():
    found = stored.race("ddim", 20)
    assert len(found) == 8
    laps = [stored.stored("solver_race.json")[f"digits, 200 samples, seed {seed}"]["laps"] for seed in range(1, 9)]
    asked = [[lap for lap in race if (lap["sampler"], lap["steps"]) == ("ddim", 20)] for race in laps]
    assert found == [lap["distance"] for (lap,) in asked]
