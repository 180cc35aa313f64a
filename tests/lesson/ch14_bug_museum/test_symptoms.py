"""What pictures hide: bugs that leave samples as they are, where each of them shows, and room on every card."""

import contextlib
import functools
import re

import numpy as np
import pytest
import torch
from torch import nn

from ddpm_lesson import checkpoint
from ddpm_lesson.lesson.ch14_bug_museum.exhibits import EXHIBITS, named
from ddpm_lesson.lesson.ch14_bug_museum.plots import STAGES, draw_card
from ddpm_lesson.lesson.ch14_bug_museum.probes.guidance import labelled
from ddpm_lesson.lesson.ch14_bug_museum.symptoms import looks_healthy, side_by_side
from ddpm_lesson.sample import guided, steps
from tests.lesson.chapters import NOTEBOOKS, cells

PATH = next(path for path in NOTEBOOKS if path.stem.startswith("14"))
TEXT = next(part for part in cells(PATH, "markdown").split("**What you should see.**") if "Twenty-three of the" in part)
KINDS = [  # of the bugs that pictures hide, as the notebook lists them by their numbers
    {int(number) for numbers in re.findall(r"\(([\d, ]+)\)", item) for number in numbers.split(",")}
    for item in TEXT.split("\n\n")[1].split("\n- ")
]
BEFORE, REPORT, SAMPLER = KINDS
FOUR_CHANNELS = 40


@functools.cache
def drawn_otherwise(exhibit):
    """Both samplers' 30 steps, with dropout in the network, and DDPM's last step taken instead of its estimate."""
    with exhibit.infected() if exhibit else contextlib.nullcontext(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        d = checkpoint.load("digits", "cpu").train()
        for module in d.eps_model.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.3
        *_, last = steps.ddpm_steps(d, (2, 1, 8, 8), torch.Generator().manual_seed(0), n_steps=30)
        t = torch.zeros(2, dtype=torch.long)
        end = d.p_sample(last.xt, t, x0_hat=last.x0_hat, generator=torch.Generator().manual_seed(1))
        ddim = steps.ddim_steps(d, (2, 1, 8, 8), 30, generator=torch.Generator().manual_seed(2))
        return torch.cat((end, steps.final_samples(ddim)))


@pytest.mark.parametrize("number", sorted(set.union(*KINDS)))
def test_what_acts_in_the_sampler_shows_in_other_steps_or_with_dropout_or_after_the_last_step(number):
    same = torch.equal(drawn_otherwise(EXHIBITS[number - 1]), drawn_otherwise(None))
    assert same == (number not in SAMPLER - {FOUR_CHANNELS})


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_one_shows_with_a_fourth_channel(channels):
    x, labels = torch.linspace(-1, 1, 2 * channels, dtype=torch.float64).view(2, channels), torch.tensor([0, 1])

    def said():
        return guided(labelled(), labels, 3.0).eps_model(x, torch.full((2,), 10))

    healthy = said()
    with EXHIBITS[FOUR_CHANNELS - 1].infected():
        assert torch.equal(said(), healthy) == (channels < 4)


def test_the_text_knows_every_bug_that_pictures_hide():
    alike = [number for number, exhibit in enumerate(EXHIBITS, 1) if looks_healthy(exhibit)]
    assert sorted((*BEFORE, *REPORT, *SAMPLER)) == alike
    assert [len(kind) for kind in KINDS] == [16, 2, 5]
    assert {number for number, exhibit in enumerate(EXHIBITS, 1) if exhibit.seen_by == ("bits",)} == REPORT


def test_where_nothing_can_be_drawn_the_symptom_says_so():
    for exhibit in EXHIBITS:
        error = side_by_side(exhibit)[0].error
        assert bool(error) == (exhibit in (named("the product of beta"), named("a time beyond the end")))
        assert not error or re.search("nothing can be sampled|stops with an error", exhibit.symptom)


@pytest.mark.parametrize("stage", STAGES)
def test_every_card_has_room_for_its_words(stage):
    margin = 10  # pixels that stay white below the words and to their right
    for number in range(1, len(EXHIBITS) + 1):
        card = np.array(draw_card(number, stage).image())
        edges = card[-margin:].min(), card[:, -margin:].min()
        assert edges == (255, 255), number
