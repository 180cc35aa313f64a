"""The matrix of the museum: each bug is seen by the probes made to see it, and by no others; healthy code by none."""

import pytest
import torch

from ddpm_lesson import diffusion, unet
from ddpm_lesson.lesson.ch14_bug_museum import matrix, probes
from ddpm_lesson.lesson.ch14_bug_museum.exhibits import EXHIBITS, HIDDEN, ROOMS, named
from ddpm_lesson.lesson.ch14_bug_museum.exhibits.slips import SEVEN_SLIPS
from ddpm_lesson.lesson.ch14_bug_museum.plots import draw_matrix
from ddpm_lesson.lesson.kit.infection import sources
from ddpm_lesson.runtime import assets_folder
from ddpm_lesson.sample import steps
from tests.lesson.shown import drawn


@pytest.mark.parametrize("seed", range(5))
def test_healthy_code_alarms_no_probe(seed):
    found = probes.findings(seed=seed)
    assert {name: finding.sentence for name, finding in found.items() if not finding.ok} == {}


@pytest.mark.parametrize("exhibit", [*EXHIBITS, *HIDDEN], ids=lambda exhibit: exhibit.name)
def test_a_bug_is_seen_by_the_probes_made_for_it_and_by_no_others(exhibit):
    found = matrix.found_in(exhibit)
    seen = {name: finding.sentence for name, finding in found.items() if not finding.ok}
    assert set(seen) == set(exhibit.seen_by), seen
    assert [sentence for sentence in seen.values() if str(assets_folder()) in sentence] == []


@pytest.mark.parametrize("exhibit", [*EXHIBITS, *HIDDEN], ids=lambda exhibit: exhibit.name)
def test_the_package_is_healthy_again_when_nobody_looks(exhibit):
    with exhibit.infected():
        pass
    assert all(finding.ok for finding in probes.findings(exhibit.seen_by).values())


def test_the_picture_of_the_matrix_counts_what_it_marks():
    picture = draw_matrix()
    drawn(picture)
    assert f"{sum(len(exhibit.seen_by) for exhibit in EXHIBITS)} squares marked" in picture.alt


def test_no_two_exhibits_are_alike():
    assert [(one.name, other.name) for one, other, how in matrix.pairs() if not how] == []


def test_every_probe_sees_an_exhibit():
    assert {name for exhibit in EXHIBITS for name in exhibit.seen_by} == set(probes.PROBES)


def test_the_museum_has_its_rooms_and_the_first_has_the_seven_slips():
    assert len(EXHIBITS) >= 30
    assert len(SEVEN_SLIPS) == 7
    assert tuple(dict.fromkeys(exhibit.room for exhibit in EXHIBITS)) == ROOMS
    assert {exhibit.room for exhibit in HIDDEN} <= set(ROOMS)
    names = [exhibit.name for exhibit in (*EXHIBITS, *HIDDEN)]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("exhibit", EXHIBITS, ids=lambda exhibit: exhibit.name)
def test_a_card_shows_the_edit_of_the_source(exhibit):
    card = exhibit._repr_markdown_()
    lines = exhibit.diff.code.splitlines()
    assert [line for line in lines if line.startswith("-")]
    assert len(lines) < 14
    assert all(part in card for part in (exhibit.symptom, exhibit.cause, exhibit.fix, exhibit.gone, exhibit.diff.code))


def test_an_infection_reaches_every_place_that_knows_the_function_and_leaves_when_an_error_comes():
    healthy = steps.spaced_times
    with named("a time beyond the end").infected(), pytest.raises(IndexError):
        steps.final_samples(steps.ddim_steps(probes.short(), (1, 1), 5))
    with pytest.raises(ZeroDivisionError), named("a time beyond the end").infected():
        _ = 1 / (steps.spaced_times is healthy)
    assert steps.spaced_times is healthy


def test_methods_with_super_can_be_infected():
    with named("checkerboard").infected():
        network = unet.UNet(1, 8, (1, 2), (False, False), 1, n_groups=4)
    assert network.settings["upsample"] == "transposed"


def test_an_edit_that_does_not_fit_the_source_is_refused():
    with pytest.raises(ValueError, match=r"old must stand once in diffusion:DenoiseDiffusion\.loss; got 'q_sampel', 0"):
        sources("diffusion:DenoiseDiffusion.loss", ("q_sampel", ""))


def test_unknown_names_are_refused():
    with pytest.raises(ValueError, match=r"name must be that of an exhibit.*got 'nonsense'"):
        named("nonsense")
    with pytest.raises(ValueError, match=r"name must be that of a probe.*got 'nonsense'"):
        probes.look("nonsense")


def test_a_probe_that_stops_is_a_finding(monkeypatch):
    def broken(self, xt, t):
        raise RuntimeError("boom\nand more")

    monkeypatch.setattr(diffusion.DenoiseDiffusion, "denoise", broken)
    assert probes.look("range of the estimate") == (False, "stops with RuntimeError: boom")


def test_probes_leave_the_random_state_alone():
    torch.manual_seed(3)
    before = torch.get_rng_state()
    probes.findings(("what the network is told", "bits"))
    assert torch.equal(torch.get_rng_state(), before)
