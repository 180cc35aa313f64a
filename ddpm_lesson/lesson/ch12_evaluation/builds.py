"""The build of notebook 12: a Frechet distance, and a floor of one's own to read it by."""

import torch
from torch import Tensor

from ddpm_lesson.lesson.kit.build import Build, Stage, unlike
from ddpm_lesson.lesson.kit.exercise import numbers


def evaluate(samples, real, floor_draws):
    def distance(x, y):
        cov_x, cov_y = x.T.cov(), y.T.cov()
        values, vectors = torch.linalg.eigh(cov_x)
        root = vectors * values.clamp(min=0).sqrt() @ vectors.T
        cross = torch.linalg.eigvalsh(root @ cov_y @ root).clamp(min=0).sqrt().sum()
        return (x.mean(0) - y.mean(0)).square().sum() + cov_x.trace() + cov_y.trace() - 2 * cross

    floor, n = [], len(samples)
    for _ in range(floor_draws):
        order = torch.randperm(len(real))
        floor.append(distance(real[order[:n]], real[order[n:]]))
    return distance(samples, real), torch.stack(floor)


def cloud(n: int, seed: int, shift: float = 0.0, spread: float = 1.0) -> Tensor:
    """Rows of three features with unequal, correlated spreads, (n, 3)."""
    mix = torch.tensor([[1.0, 0.0, 0.0], [0.6, 0.5, 0.0], [-0.3, 0.2, 2.0]], dtype=torch.float64)
    return shift + spread * numbers(n, 3, seed=seed, dtype=torch.float64) @ mix.T


def gives_two(built) -> str:
    """A number, and one number a draw."""
    for n, m, draws in ((40, 90, 5), (30, 200, 1)):
        result = built(cloud(n, 1), cloud(m, 2), draws)
        if not isinstance(result, tuple | list) or len(result) != 2:
            return f"BUILT must return two things, distance and floor; got {type(result).__name__}."
        distance, floor = result
        wrong = unlike(torch.as_tensor(distance), (), what="The distance", gives=False)
        if wrong := wrong or unlike(floor, (draws,), what="The floor", gives=False):
            return wrong
    return ""


def by_product(x: Tensor, y: Tensor) -> Tensor:
    """(12.4) by the eigenvalues of the product of both covariances, which is not symmetric and has the same ones."""
    one, two = x.T.cov(), y.T.cov()
    cross = torch.linalg.eigvals(one @ two).real.clamp(min=0).sqrt().sum()
    return (x.mean(0) - y.mean(0)).square().sum() + (one + two).trace() - 2 * cross


def is_the_distance(built) -> str:
    """(12.4) by another way; also for no more rows than features, where an eigenvalue is 0.

    Such an eigenvalue comes out as large as the rounding of the answer's kind of number, and its root is what counts.
    """
    flat = [(2 + i % 2, 30, -0.5, 2.0, i) for i in range(8)]  # rounding puts the zeros on either side
    for n, m, shift, spread, seed in ((40, 90, 0.0, 1.0, 3), (41, 300, 1.5, 0.3, 3), *flat):
        x, y = cloud(n, seed, shift, spread), cloud(m, 40 + seed)
        got, right = torch.as_tensor(built(x, y, 1)[0]), by_product(x, y)
        off = 4 * torch.finfo(got.dtype).eps ** 0.5 * (1 + right)
        if wrong := unlike(got, right, off, f"For {n} samples and {m} real rows the distance", gives=False):
            return wrong
    return ""


def has_a_floor(built) -> str:
    """Against the distances of two fresh clouds, one of N rows and one of the rest, for 200 pairs of them.

    The splits of one set share its rows, so the band is wide: a half to twice.
    """
    real = cloud(240, 5)
    real = real[real[:, 0].argsort()]  # sorted, as data sets may be
    for n in (40, 120):
        floor = built(cloud(n, 6, 3.0), real, 200)[1]
        pairs = torch.stack([by_product(cloud(n, 100 + i), cloud(240 - n, 500 + i)) for i in range(200)])
        share = float(floor.mean() / pairs.mean())
        if not 0.5 < share < 2:
            return (
                f"With {n} samples and 240 real rows the floor is {share:.2f} times the distance of two fresh sets of "
                f"{n} and {240 - n} rows."
            )
        spread = float(floor.std() / pairs.std())
        if not 0.4 < spread < 2.5:
            return f"The draws of the floor scatter {spread:.2f} times as much as those of two fresh sets."
    return ""


def splits_the_rows(built) -> str:
    """A row that is far from all others tells by the distance how large the set is in which it stands.

    R away in each of D features, it moves the mean of k rows by R / k and makes their variances R^2 / k, so that the
    distance is D R^2 (1 / k^2 + 1 / k). What the other rows add is smaller by a factor of R.
    """
    real, size = cloud(240, 5), 1e6
    real[50] = size
    for n in (40, 120):
        distances = built(cloud(n, 6), real, 60)[1].double() / (3 * size**2)
        rows = (1 + (1 + 4 * distances).sqrt()) / (2 * distances)  # k of each draw
        far = (rows[:, None] / torch.tensor([n, 240.0 - n]) - 1).abs().amin(1)
        if far.max() > 0.001:  # one row of 200 is 0.005, rounding 3e-5
            return (
                f"With {n} samples each of the 240 real rows should stand in exactly one of two sets, of {n} and "
                f"{240 - n} rows. Your two sets share rows, leave some out, or have other sizes."
            )
    return ""


def tells_good_from_bad(built) -> str:
    """Samples of the right law, samples that are shifted, and samples of which each stands there twice."""
    real, low = cloud(600, 7), []
    for seed in range(20):
        distance, floor = built(cloud(200, 1000 + seed), real, 20)
        low.append(float(distance) < float(floor.mean() + 3 * floor.std()))
    if sum(low) < 17:
        return f"Of 20 sets from the very law of the real ones, {20 - sum(low)} were far above the floor."
    for name, bad in (("shifted by half a spread", cloud(200, 8, 0.5)), ("too alike", cloud(200, 8, 0.0, 0.7))):
        distance, floor = built(bad, real, 20)
        if not distance > floor.max():
            return f"Samples that are {name} had a distance of {float(distance):.3f}, and the floor goes up to that."
    return ""


build_evaluate = Build(
    evaluate,
    (
        Stage(
            gives_two,
            "Two things leave the function: how far the samples are, and how far real ones would be.",
            "`return distance(samples, real), torch.stack(floor)`, with one number a draw in the list `floor`.",
        ),
        Stage(
            is_the_distance,
            "It is (12.4) with means and covariances of the rows. Where may a rounded eigenvalue fall below 0?",
            "`x.T.cov()` for the covariance, `torch.linalg.eigh` for its root (eigenvalues clamped at 0), and the sum "
            "of the roots of the eigenvalues of `root @ cov_y @ root`.",
        ),
        Stage(
            splits_the_rows,
            "A floor is the distance of two sets of *real* rows that share none: as many as `samples`, and the rest.",
            "`real[order[:n]]` against `real[order[n:]]`, with `n = len(samples)`.",
        ),
        Stage(
            has_a_floor,
            "Which rows come into the smaller set? They must be drawn anew each time, and each row as likely as any.",
            "`order = torch.randperm(len(real))`, then `real[order[:n]]` against `real[order[n:]]`.",
        ),
        Stage(
            tells_good_from_bad,
            "Both parts are right by themselves. Is the distance that you return the one of `samples`?",
            "`distance(samples, real)`.",
        ),
    ),
    "A distance with its floor beside it is a measurement; without it is a number. In notebook 13 it judges what your "
    "network draws.",
)
