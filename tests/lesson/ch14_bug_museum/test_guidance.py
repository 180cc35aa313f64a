"""The oracle of the room of guidance: what it takes for right is right by other ways; its probes see what they must."""

import pytest
import torch

from ddpm_lesson.lesson.ch14_bug_museum import matrix
from ddpm_lesson.lesson.ch14_bug_museum.exhibits import named
from ddpm_lesson.lesson.ch14_bug_museum.exhibits.guidance import GUIDED
from ddpm_lesson.lesson.ch14_bug_museum.plots import draw_sweep
from ddpm_lesson.lesson.ch14_bug_museum.probes import guidance, look
from ddpm_lesson.lesson.ch14_bug_museum.probes.guidance import CLASSES, LABEL, agreement, exact_agreement, tilted_noise
from ddpm_lesson.lesson.ch14_bug_museum.symptoms import looks_healthy, side_by_side
from ddpm_lesson.lesson.kit.mixture import ExactLabelled
from ddpm_lesson.sample import guided
from ddpm_lesson.schedule import NoiseSchedule
from tests.lesson.shown import drawn


def test_perfect_network_says_the_mean_of_the_noise_that_was_drawn_with_each_label():
    """Least squares: no multiple of the answer, and no constant beside it, comes nearer to the noise."""
    schedule = NoiseSchedule.linear(10, 0.02, 0.5).to(torch.float64)
    network, n, generator = ExactLabelled(CLASSES, schedule), 200_000, torch.Generator().manual_seed(0)
    labels = torch.multinomial(CLASSES.weights, n, replacement=True, generator=generator)
    x0 = CLASSES.means[labels] + CLASSES.stds[labels] * torch.randn(n, dtype=torch.float64, generator=generator)
    eps, t, a = torch.randn(n, dtype=torch.float64, generator=generator), torch.full((n,), 3), schedule.alpha_bar[3]
    xt = a.sqrt() * x0 + (1 - a).sqrt() * eps
    for told in (labels, torch.full((n,), 2)):
        said = network(xt, t, told)
        for function in (torch.ones(n), xt, said, xt**2):  # the error is orthogonal to whatever x_t says
            product = (eps - said) * function
            assert abs(float(product.mean())) < 5 * float(product.std()) / n**0.5
    assert float((network(xt, t, labels) - eps).square().mean()) < float((said - eps).square().mean())


def test_agreement_is_known_at_both_ends():
    x = CLASSES.sample(200_000, torch.Generator().manual_seed(0))
    own = CLASSES.means[LABEL] + CLASSES.stds[LABEL] * torch.randn(200_000, generator=torch.Generator().manual_seed(1))
    for wanted, values in zip(exact_agreement(), (x, own), strict=True):
        shares = CLASSES.responsibilities(values)[:, LABEL]
        assert wanted == pytest.approx(float(shares.mean()), abs=5 * float(shares.std()) / 200_000**0.5)


def test_bayes_and_the_two_answers_agree_at_every_scale():
    d, x, labels = guidance.labelled(), torch.linspace(-2, 2, 12, dtype=torch.float64).view(6, 2), torch.arange(6) % 2
    for scale in (0.0, 0.5, 1.0, 2.0):
        said = guided(d, labels, scale).eps_model(x, torch.full((6,), 7))
        right = tilted_noise(x, labels, float(d.alpha_bar[7]), scale)
        assert torch.allclose(said, right, rtol=0, atol=1e-9)


def test_agreement_rises_with_the_scale():
    found = [agreement(scale) for scale in (0.0, 0.5, 1.0, 2.0, 4.0)]
    assert found == sorted(found)
    assert found[-1] - found[0] > 0.5


def test_sweep_tells_what_each_bug_does():
    paper, same, away = (matrix.sweep(exhibit, (0.0, 1.0, 3.0)) for exhibit in GUIDED[:3])
    assert paper[0] == pytest.approx(exact_agreement()[1], abs=0.03)  # w = 0 is the conditional model
    assert max(same) - min(same) < 1e-6
    assert away == sorted(away, reverse=True)


def test_one_channel_of_four_is_named():
    with named("three channels of four").infected():
        assert "channel 4 of guided noise is off" in look("guided noise").sentence


def test_guided_scenes_show_what_their_bugs_do():
    assert [looks_healthy(exhibit) for exhibit in GUIDED[:3]] == [False] * 3
    sick, healthy = side_by_side(named("labels that nobody leaves out"))
    assert len(sick.ddpm) == len(healthy.ddpm) == 7


def test_picture_of_the_sweep_says_its_numbers():
    picture = draw_sweep()
    drawn(picture)
    assert f"healthy {agreement(0.0):.0%}, {agreement(1.0):.0%}, {agreement(3.0):.0%}" in picture.alt
