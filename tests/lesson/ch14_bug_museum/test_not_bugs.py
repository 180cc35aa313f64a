"""What is no bug: a perfect network has no room for one."""

import pytest

from ddpm_lesson.lesson.ch14_bug_museum import not_bugs


def test_no_network_is_better_than_the_perfect_one():
    losses = [not_bugs.loss(not_bugs.perfect(line_below=n)) for n in (0, 5, 10, 60)]
    assert losses == sorted(losses)


def test_guesses_get_sharper_towards_the_data():
    assert not_bugs.blur(50) < not_bugs.blur(25) < not_bugs.blur(0) == pytest.approx(1, abs=0.03)


def test_odd_ones_are_as_many_as_they_must_be():
    assert not_bugs.share_with_an_odd_one() == pytest.approx(1 - 0.99**64, abs=3 * (0.25 / 500) ** 0.5)


def test_the_two_variances_meet_with_many_steps():
    ratios = [beta / posterior for beta, posterior in not_bugs.few_steps().values()]
    assert ratios[0] > ratios[-1]
