"""Panels of notebook 01: the words give the right numbers."""

import math
import re

import pytest

from ddpm_lesson.lesson.ch01_from_kl_to_elbo import panels
from tests.lesson.shown import shown

PANELS = {"show_kl": panels.show_kl, "show_elbo_gap": panels.show_elbo_gap}


def numbers(panel, pattern):
    return [float(number) for number in re.search(pattern, shown(panel)[1]).groups()]


def test_divergences_in_the_words_are_those_of_the_picture():
    panel = panels.show_kl()
    panel.controls["mean"].value, panel.controls["std"].value = 0.9, 0.35
    forward, reverse = numbers(panel, r"\(p \|\| q\) = ([\d.]+), .*\(q \|\| p\) = ([\d.]+)")
    assert reverse == pytest.approx(-math.log(0.6), abs=2e-3)  # all of q in the peak of weight 0.6
    assert forward > 10 * reverse


def test_words_say_where_the_area_continues_above_the_picture():
    panel = panels.show_kl()
    for mean, std, cut in (
        (0.05, 1.1, ""),
        (0.9, 0.35, "; continued above the picture: p log(p / q)"),
        (-0.2, 0.3, "; continued above the picture: p log(p / q), q log(q / p)"),
    ):
        panel.controls["mean"].value, panel.controls["std"].value = mean, std
        assert shown(panel)[1].endswith("nats" + cut)


def test_evidence_stays_and_elbo_and_gap_share_it():
    panel = panels.show_elbo_gap()
    pattern = r"= (-[\d.]+) nats, the sum of the ELBO, (-[\d.]+), and the gap, ([\d.]+)"
    seen = set()
    for mean in (0.6, 1.0, 1.48):
        panel.controls["mean"].value = mean
        evidence, elbo, gap = numbers(panel, pattern)
        assert elbo + gap == pytest.approx(evidence, abs=0.011)  # two decimals each
        seen.add(evidence)
    assert len(seen) == 1


def test_gap_closes_for_the_straight_decoder_only():
    panel = panels.show_elbo_gap()
    var = 1 + 0.6**2
    for decoder, smallest in (("straight: z", 0.0), ("bent: z squared", 0.3)):
        panel.controls["decoder"].value = decoder
        panel.controls["mean"].value, panel.controls["std"].value = 2.0 / var, 0.6 / math.sqrt(var)
        (gap,) = numbers(panel, r"the gap, ([\d.]+)")
        assert gap >= smallest
        assert (gap == 0) == (decoder == "straight: z")
