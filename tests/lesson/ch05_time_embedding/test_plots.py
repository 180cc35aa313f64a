"""Pictures of notebook 05: the words beside them are true, and the drawing follows the module."""

import torch

from ddpm_lesson.lesson.ch05_time_embedding.plots import (
    curves_over_xt,
    embedding_diagram,
    errors_picture,
    similarity_picture,
    time_posterior_picture,
    told_losses_picture,
)
from ddpm_lesson.unet import TimeEmbedding
from tests.lesson.shown import drawn


def test_answers_are_compared_at_one_point():
    x = torch.linspace(-2, 2, 41)
    shown = curves_over_xt(x, {3: x, 9: -x}, {"without t": 0 * x}, at=0.5)
    drawn(shown)
    assert shown.alt.endswith("at x_t = 0.5 it is 0.50 at t = 3, -0.50 at t = 9; 0.00 without t")


def test_votes_are_told_by_mean_and_spread():
    sure, unsure = torch.zeros(101), torch.full((101,), 1 / 101)
    sure[40] = 1.0
    shown = time_posterior_picture({1: unsure, 784: sure}, 40)
    drawn(shown)
    assert "1: 50 plus or minus 29, 784: 40 plus or minus 0" in shown.alt


def test_errors_are_averaged():
    shown = errors_picture({"none": torch.full((50,), 0.5), "sinusoids": torch.full((50,), 0.01)})
    drawn(shown)
    assert shown.alt.endswith("averages: none 0.5000, sinusoids 0.0100")


def test_similarities_are_cosines():
    angle = torch.linspace(0, torch.pi, 101)
    shown = similarity_picture({"half a turn": torch.stack((angle.sin(), angle.cos()), dim=1) * 3})
    drawn(shown)
    assert "half a turn: 0.99 between 0 and 5, 0.99 between 100 and 95" in shown.alt


def test_loss_at_the_truth_and_the_least_loss_are_named():
    shown = told_losses_picture([0, 50, 100], {50: torch.tensor([0.9, 0.2, 0.1])})
    drawn(shown)
    assert "true t = 50: 0.200 told the truth, least when told 100, 0.90 told 0, 0.10 told 100" in shown.alt


def test_diagram_reads_its_sizes_from_the_module():
    small, paper = (embedding_diagram(TimeEmbedding(n)) for n in (96, 512))
    assert drawn(small).tobytes() != drawn(paper).tobytes()
    assert "12 clock hands, 24 sinusoids, then through lin1 (24 to 96), Swish and lin2 (96 to 96)" in small.alt
    assert "64 clock hands, 128 sinusoids, then through lin1 (128 to 512), Swish and lin2 (512 to 512)" in paper.alt
