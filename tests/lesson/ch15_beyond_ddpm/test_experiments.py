"""What notebook 15 tries out, held to what is known."""

import pytest
import torch

from ddpm_lesson.flow import FlowMatching, FlowStep
from ddpm_lesson.lesson.ch15_beyond_ddpm import experiments as ex
from ddpm_lesson.lesson.kit.mixture import TWO_BUMPS


def test_the_velocity_is_the_least_loss():
    """Of the exact one, and of ones shifted to either side, on the same draws."""

    def loss(shift):
        class Shifted(ex.ExactVelocity):
            def forward(self, xt, t):
                return super().forward(xt, t) + shift

        generator = torch.Generator().manual_seed(0)
        x0 = TWO_BUMPS.sample(20_000, generator)[:, None]
        eps = torch.randn(x0.shape, dtype=x0.dtype, generator=generator)
        return float(FlowMatching(Shifted()).loss(x0, eps, torch.full((len(x0),), 0.4, dtype=x0.dtype)))

    assert loss(0.0) < min(loss(0.2), loss(-0.2))


def test_labels_choose_the_bump():
    model = ex.labelled()
    x, t = torch.zeros(3, 1, dtype=torch.float64), torch.full((3,), 300)
    left, right, both = model.eps_model(x, t, torch.tensor([0, 1, 2])).flatten().tolist()
    assert left == pytest.approx(-right)
    assert left > 0 == pytest.approx(both, abs=1e-12)


@pytest.mark.parametrize("scale", [0.0, 1.0, 4.0])
def test_tilted_density_integrates_to_one_and_is_the_product(scale):
    x = torch.linspace(-6, 6, 4001, dtype=torch.float64)
    p = ex.tilted(x, scale)
    assert float(torch.trapezoid(p, x)) == pytest.approx(1)
    label = ex.GaussianMixture([1.0], ex.CLASSES.means[1:], ex.CLASSES.stds[1:])
    ratio = p[1000:3000].log() - scale * label.log_prob(x)[1000:3000] - (1 - scale) * ex.CLASSES.log_prob(x)[1000:3000]
    assert float(ratio.std()) == pytest.approx(0, abs=1e-9)


def test_a_straight_path_has_no_bend():
    ends = torch.tensor([[1.0], [-2.0]]), torch.tensor([[0.5], [3.0]])
    straight = [FlowStep(t, (1 - t) * ends[1] + t * ends[0], ends[1]) for t in (1.0, 0.5, 0.25)]
    assert ex.bend(straight) == pytest.approx(0, abs=1e-6)
    bent = [straight[0], FlowStep(0.5, straight[1].xt + 0.3, ends[1]), straight[2]]
    assert ex.bend(bent) == pytest.approx(0.3, abs=1e-6)


def test_training_leaves_the_global_seed_alone_and_learns():
    before = torch.get_rng_state()
    model = ex.trained("flow", 0, 300)
    assert torch.get_rng_state().equal(before)
    x0 = TWO_BUMPS.sample(4000, torch.Generator().manual_seed(5)).float()[:, None]
    noise = torch.randn(4000, 1, generator=torch.Generator().manual_seed(6))
    t = torch.linspace(0, 1, 4000)
    with torch.no_grad():
        fresh, after = (float(m.loss(x0, noise, t)) for m in (FlowMatching(ex.PointNet()), model))
    assert after < 0.8 * fresh


def test_the_bound_lies_above_and_ten_nodes_are_enough():
    x0 = TWO_BUMPS.quantile(ex.RANKS[::10])
    exact = -float(TWO_BUMPS.log_prob(x0).mean())
    few, many = ex.bound(x0), ex.bound(x0, 24)
    assert many > exact
    assert few == pytest.approx(many, abs=3e-3)


def test_the_parts_of_an_error_are_those_of_its_solver():
    """Where it stops, against errors measured elsewhere; the jump from the right place is the same for all."""
    rows = {row.solver: row for row in ex.last_jumps(10)}
    assert {name: (row.asked, row.t) for name, row in rows.items()} == {
        "DDIM (Euler)": (10, 99),
        "Heun": (9, 199),
        "DPM-Solver++(2M)": (10, 99),
    }
    samples = ex.solver_errors((10,)) | {"Heun": ex.solver_errors((5,))["Heun"]}
    half_way = ex.solver_errors((10,), until=99)
    for name, row in rows.items():
        assert row.ends == samples[name][0][1]
        if row.t == 99:
            assert row.arrives == half_way[name][0][1]
    assert rows["DDIM (Euler)"].jump == rows["DPM-Solver++(2M)"].jump < rows["Heun"].jump


def test_solvers_start_from_one_noise_and_come_near_the_end_of_its_path():
    ends = ex.in_ten(ex.perfect(), (50, 1), torch.Generator().manual_seed(1))
    assert set(ends) == {*ex.SOLVERS, "path"}
    for name in ex.SOLVERS:
        assert 0 < float((ends[name] - ends["path"]).square().mean().sqrt()) < 0.25
