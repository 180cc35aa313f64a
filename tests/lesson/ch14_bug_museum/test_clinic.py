"""The clinic: no labels, an answer at once, and no way to be right by chance."""

import pytest

from ddpm_lesson.lesson.ch14_bug_museum import clinic
from ddpm_lesson.lesson.ch14_bug_museum.clinic import HEALTHY, Clinic, check_patient, contradiction
from ddpm_lesson.lesson.ch14_bug_museum.exhibits import EXHIBITS, HIDDEN, ROOMS
from ddpm_lesson.lesson.ch14_bug_museum.matrix import found_in, sick


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
    assert "0 of" not in ward.score()


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
    assert f"{HEALTHY}: 1 of 1 right" in clinic.open_clinic().score()


@pytest.mark.slow
def test_a_wrong_diagnosis_is_answered_by_a_probe_that_contradicts_it():
    for exhibit in EXHIBITS:
        for answer in (e.name for e in EXHIBITS if e is not exhibit):
            said = contradiction(exhibit, answer)
            assert any(f"*{name}*" in said for name in found_in(exhibit)), said


def test_a_probe_says_what_the_matrix_says():
    ward = Clinic(clinic.WARD)
    for patient, exhibit in enumerate(ward._ward, 1):
        seen = [name for name in found_in(exhibit) if not ward.probe(patient, name).ok]
        assert tuple(seen) == sick(found_in(exhibit))


def test_what_is_no_answer_is_said():
    assert check_patient(1, ...).message.startswith("*Your turn:*")
    assert "got 'measles'" in check_patient(1, "measles").message
    with pytest.raises(ValueError, match="patient must be 1 to 8; got 9"):
        check_patient(9, HEALTHY)
    with pytest.raises(ValueError, match="name must be that of a probe"):
        Clinic().probe(1, "thermometer")
