"""What notebook 04 finds by trying, against densities on a grid and against draws."""

import pytest
import torch

from ddpm_lesson.lesson.ch04_noise_prediction.experiments import floors, perfect_bound
from ddpm_lesson.lesson.ch04_noise_prediction.proofs import bump_chain
from ddpm_lesson.lesson.kit.chain import data_nodes, short_chain
from ddpm_lesson.lesson.kit.mixture import TWO_BUMPS


@pytest.mark.parametrize("sigma", ["beta", "posterior"])
def test_bound_of_the_perfect_network_is_that_of_the_chain_on_a_grid(sigma):
    x0, weight = data_nodes(TWO_BUMPS, 32)
    on_grid = float(weight @ bump_chain(3, sigma).bound(x0).total)
    assert perfect_bound(short_chain(3), sigma) == pytest.approx(on_grid, rel=1e-5)


@pytest.mark.parametrize("n_steps", [2, 8, 50])
def test_best_constants_give_the_least_bound(n_steps):
    schedule = short_chain(n_steps)
    assert perfect_bound(schedule, "best") < min(perfect_bound(schedule, sigma) for sigma in ("beta", "posterior"))


def test_floor_is_the_error_of_the_best_guess():
    schedule, n = short_chain(4).to(torch.float64), 200_000
    x0 = TWO_BUMPS.sample(n, torch.Generator().manual_seed(0))
    eps = torch.randn(n, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    for alpha_bar, floor in zip(schedule.alpha_bar.tolist(), floors(schedule), strict=True):
        xt = alpha_bar**0.5 * x0 + (1 - alpha_bar) ** 0.5 * eps
        errors = (eps - TWO_BUMPS.exact_eps(xt, alpha_bar)).square()
        assert abs(float(errors.mean() - floor)) < 5 * float(errors.std()) / n**0.5
