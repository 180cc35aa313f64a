"""The clinic: no labels, an answer at once, and no way to be right by chance."""

import re

import numpy as np
import pytest

from ddpm_lesson.lesson.ch14_bug_museum import clinic
from ddpm_lesson.lesson.ch14_bug_museum.clinic import HEALTHY, Clinic, check_patient, contradiction, reason
from ddpm_lesson.lesson.ch14_bug_museum.exhibits import EXHIBITS, HIDDEN, ROOMS, named
from ddpm_lesson.lesson.ch14_bug_museum.exhibits.exhibit import GUIDANCE
from ddpm_lesson.lesson.ch14_bug_museum.matrix import found_in, sick
from ddpm_lesson.lesson.ch14_bug_museum.probes import PROBES


def truth(ward, patient):
    exhibit = ward._ward[patient - 1]
    return exhibit.name if exhibit else HEALTHY


@pytest.mark.parametrize("seed", range(20))
def test_a_ward_has_five_exhibits_two_healthy_and_a_hidden_one(seed):
    ward = Clinic(seed)._ward
    assert ward == Clinic(seed)._ward
    assert (ward.count(None), len([e for e in ward if e in EXHIBITS]), len([e for e in ward if e in HIDDEN])) == (
        2,
        5,
        1,
    )


def test_seeds_make_other_wards():
    assert len({tuple(e and e.name for e in Clinic(seed)._ward) for seed in range(20)}) == 20


def test_the_right_answer_is_right_and_every_other_one_is_wrong():
    ward = Clinic(clinic.WARD)
    for patient in range(1, len(ward) + 1):
        right = truth(ward, patient)
        for answer in (HEALTHY, *(e.name for e in EXHIBITS)):
            result = ward.diagnose(patient, answer)
            assert result.passed == (answer == right)
            if answer != right:
                assert right not in result.message.replace(answer, "") or right == HEALTHY
        assert ward.diagnose(patient, right).passed
    assert "not right yet" not in ward.score()
    assert sum(map(int, re.findall(r": (\d) right", ward.score()))) == len(ward)


@pytest.mark.parametrize("seed", range(4))
def test_the_score_says_of_a_patient_taken_for_something_else_no_more_than_that(seed):
    ward = Clinic(seed)
    assert ward.score() == "no diagnosis yet"
    for patient, exhibit in enumerate(ward._ward, 1):
        ward.diagnose(patient, "state" if exhibit is None or exhibit.room != "state" else HEALTHY)
    assert ward.score() == "not right yet: 1, 2, 3, 4, 5, 6, 7, 8"


@pytest.mark.parametrize(
    ("answer", "means"),
    [
        ("Healthy", HEALTHY),
        (" healthy ", HEALTHY),
        ("The label in  the null branch", "the label in the null branch"),
        ("label in the null branch", "the label in the null branch"),
        ("the room of guidance", GUIDANCE),
        ("room of the seven slips", "the seven slips"),
        (named("data in [0, 1]"), "data in [0, 1]"),
        ("measles", None),
        ("", None),
        (7, None),
        (np.array([1, 2]), None),
        (["healthy"], None),
    ],
)
def test_names_are_known_as_people_write_them(answer, means):
    assert clinic.meant(answer) == means


def test_every_name_means_itself_and_what_is_no_name_is_answered_with_a_name_near_it():
    assert [clinic.meant(name) for name in clinic.SHOWN] == list(clinic.SHOWN)
    assert "Did you mean 'healthy'?" in check_patient(1, "helthy").message
    for hidden in HIDDEN:
        typed = f"{hidden.name}s"
        assert hidden.name not in check_patient(1, typed).message.replace(typed, "")


def quoted(message):
    """The probe that a message names, and its sentences in order."""
    name = next(name for name in PROBES if f"*{name}*" in message)
    return name, message.split(f"*{name}*")[1]


GUIDES = [exhibit for exhibit in (*EXHIBITS, *HIDDEN) if set(exhibit.seen_by) == {"guided noise", "guidance sweep"}]


@pytest.mark.parametrize("exhibit", GUIDES, ids=lambda exhibit: exhibit.name)
def test_a_verdict_quotes_a_sentence_that_tells_the_bug_from_its_likes(exhibit):
    assert len({found_in(other)["guided noise"].sentence for other in GUIDES}) == 1  # or there would be nothing to test
    name, said = quoted(reason(exhibit))
    assert name == "guidance sweep"
    for other in GUIDES:
        if other is not exhibit:
            assert found_in(other)[name].sentence not in said
            against, both = quoted(contradiction(exhibit, other.name))
            assert found_in(exhibit)[against].sentence != found_in(other)[against].sentence
            assert all(found_in(one)[against].sentence in both for one in (exhibit, other))


def test_a_hidden_bug_is_named_by_its_room():
    ward = Clinic(clinic.WARD)
    patient = next(i for i, e in enumerate(ward._ward, 1) if e in HIDDEN)
    assert ward.diagnose(patient, ward._ward[patient - 1].room).passed
    other = next(i for i, e in enumerate(ward._ward, 1) if e in EXHIBITS)
    assert not ward.diagnose(other, ward._ward[other - 1].room).passed


def test_a_hidden_bug_in_the_wrong_room_is_not_said_to_be_on_show():
    ward = Clinic(clinic.WARD)
    patient = next(i for i, e in enumerate(ward._ward, 1) if e in HIDDEN)
    wrong = next(room for room in ROOMS if room != ward._ward[patient - 1].room)
    assert "It has no name here, but that is not its room." in ward.diagnose(patient, wrong).message


def test_a_checked_diagnosis_counts_for_the_clinic_that_is_open():
    check_patient(3, HEALTHY)
    assert clinic.open_clinic() is clinic.open_clinic(clinic.WARD)
    assert f"{HEALTHY}: 1 right" in clinic.open_clinic().score()


@pytest.mark.slow
def test_a_wrong_diagnosis_is_answered_by_a_probe_that_contradicts_it():
    for exhibit in (*EXHIBITS, *HIDDEN):
        for other in (e for e in EXHIBITS if e is not exhibit):
            name, said = quoted(contradiction(exhibit, other.name))
            assert found_in(exhibit)[name].sentence in said
            assert found_in(exhibit)[name] != found_in(other)[name]


def test_a_probe_says_what_the_matrix_says():
    ward = Clinic(clinic.WARD)
    for patient, exhibit in enumerate(ward._ward, 1):
        seen = [name for name in found_in(exhibit) if not ward.probe(patient, name).ok]
        assert tuple(seen) == sick(found_in(exhibit))


def test_what_is_no_answer_is_said():
    assert check_patient(1, ...).message.startswith("*Your turn:*")
    assert "got 'measles'" in check_patient(1, "measles").message
    for what, words in ((7, "an answer of type int"), (np.array([1, 2]), "an answer of type ndarray")):
        assert f"or a room: {', '.join(ROOMS)}; got {words}." in check_patient(7, what).message
    assert 7 not in clinic.open_clinic().answers  # no name, no diagnosis
    for patient in (0, 9, 7.0, "7", None, np.array([1, 2])):
        with pytest.raises(ValueError, match="patient must be a whole number from 1 to 8; got "):
            check_patient(patient, HEALTHY)
    for name in ("thermometer", ["bits"]):
        with pytest.raises(ValueError, match=r"name must be that of a probe.*; got "):
            Clinic().probe(1, name)
