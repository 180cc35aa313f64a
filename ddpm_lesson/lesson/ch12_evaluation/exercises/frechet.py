"""The Frechet distance of two Gaussians."""

import torch
from torch import Tensor

from ddpm_lesson.lesson.ch12_evaluation.exercises.bits import F64
from ddpm_lesson.lesson.kit.exercise import Exercise, Mistake


def matrix_root(matrix: Tensor) -> Tensor:
    """The symmetric square root of a covariance (D, D)."""
    values, vectors = torch.linalg.eigh(matrix)
    return vectors * values.clamp(min=0).sqrt() @ vectors.T


def frechet(mean1: Tensor, cov1: Tensor, mean2: Tensor, cov2: Tensor) -> Tensor:
    """The squared Frechet distance of two Gaussians: equation (12.4)."""
    root = matrix_root(cov1)
    spread = cov1 + cov2 - 2 * matrix_root(root @ cov2 @ root)
    return ((mean1 - mean2) ** 2).sum() + spread.trace()


def gaussian(seed: int, size: int) -> tuple[Tensor, Tensor]:
    """Mean (D,) and covariance (D, D), always the same for a seed."""
    rng = torch.Generator().manual_seed(seed)
    a = torch.randn(size, size, generator=rng, dtype=F64)
    return torch.randn(size, generator=rng, dtype=F64), a @ a.T + 0.2 * torch.eye(size, dtype=F64)


check_frechet = Exercise(
    solution=frechet,
    cases=tuple((*gaussian(seed, size), *gaussian(seed + 1, size)) for seed, size in ((0, 2), (2, 3), (4, 5))),
    mistakes=(
        Mistake("covariances forgotten", (" + spread.trace()", "")).says("""
            This looks like the distance of the means alone.
            Two sets with one mean and another variety should not count as equal.
            Add the trace of (12.4)."""),
        Mistake("means forgotten", ("((mean1 - mean2) ** 2).sum() + ", "")).says("""
            This looks like the part of the covariances alone.
            What if one set is the other, moved?
            Add the squared distance of the means."""),
        Mistake("cross term forgotten", (" - 2 * matrix_root(root @ cov2 @ root)", "")).says("""
            This looks like the mean squared distance of pairs that have nothing to do with each other.
            What does it give for two equal Gaussians?
            Subtract twice the trace of the root."""),
        Mistake("outer root forgotten", ("matrix_root(root @ cov2 @ root)", "root @ cov2 @ root")).says("""
            This looks like `root @ cov2 @ root` itself: the root around it is missing.
            That product has the unit of a covariance squared. What has the unit of a covariance?
            Take `matrix_root` of the product once more."""),
        Mistake("inner root forgotten", ("= matrix_root(cov1)", "= cov1")).says("""
            This looks as if `cov1` stood where its root belongs.
            Under the outer root everything should have the unit of a covariance squared. Has it?
            `root = matrix_root(cov1)`, and then the root of `root @ cov2 @ root`."""),
        Mistake(
            "Cholesky factor for the root", ("matrix_root(cov1)", "torch.linalg.cholesky(cov1)", "@ root)", "@ root.T)")
        ).says("""
            This looks like a Cholesky factor in the place of the root.
            `L @ L.T` is the covariance, but `L @ L` is not: it is no symmetric root.
            Use `matrix_root(cov1)`, or with `L` take `L.T @ cov2 @ L`."""),
        Mistake("cross term added", ("- 2 *", "+ 2 *")).says("""
            This looks as if the root had been added instead of subtracted.
            What does your function give for two equal Gaussians?
            Twice the root is subtracted, as in (a - b)^2."""),
        Mistake("absolute difference of the means", ("((mean1 - mean2) ** 2)", "(mean1 - mean2).abs()")).says("""
            This looks like the absolute difference of the means.
            Covariances are squared lengths. What must be added to them?
            Square the difference before you sum."""),
        Mistake("root of each entry", ("matrix_root(root @ cov2 @ root)", "(cov1 @ cov2).abs().sqrt()")).says("""
            This looks like the square root of every entry of the product, instead of the root of the matrix.
            The root of a matrix is the matrix whose square it is. `sqrt` of a tensor works entry by entry.
            Use `matrix_root`, or the roots of the eigenvalues."""),
        Mistake(
            "product of the covariances entry by entry",
            ("matrix_root(root @ cov2 @ root)", "(cov1 * cov2).abs().sqrt()"),
        ).says("""
            This looks as if only the diagonals counted, as they would for uncorrelated features.
            Did you use (12.5) feature by feature, or `*` where matrices are multiplied?
            Use (12.4), with `@` and `matrix_root`."""),
        Mistake("product of the roots", ("matrix_root(root @ cov2 @ root)", "root @ matrix_root(cov2)")).says("""
            This looks like the product of the two roots.
            Matrices do not commute: the root of a product is not the product of the roots.
            Take `root = matrix_root(cov1)` first, and then the root of `root @ cov2 @ root`."""),
        Mistake("matrix_root of the plain product", ("root @ cov2 @ root", "cov1 @ cov2")).says("""
            This looks like `matrix_root(cov1 @ cov2)`. That product is not symmetric; `matrix_root` sees half of it.
            Which symmetric matrix has the same eigenvalues as the product?
            Use `root @ cov2 @ root` with `root = matrix_root(cov1)`."""),
        Mistake("symmetrised product", ("root @ cov2 @ root", "(cov1 @ cov2 + cov2 @ cov1) / 2")).says("""
            This looks like the root of the product made symmetric, the mean of `cov1 @ cov2` and its transpose.
            It is symmetric, but has other eigenvalues. Which symmetric matrix has those of the product?
            Use `root @ cov2 @ root` with `root = matrix_root(cov1)`."""),
        Mistake("factor 2 forgotten", ("- 2 *", "-")).says("""
            This looks right without the 2 before the root.
            What does your function give for two equal Gaussians?
            Twice the root is subtracted, as in (a - b)^2."""),
        Mistake("means not squared", (".sum()", ".sum().sqrt()")).says("""
            This looks like the distance of the means, not its square.
            Covariances are squared lengths. What must be added to them?
            Leave out the square root over the means."""),
        Mistake("mean of the squares", (".sum()", ".mean()")).says("""
            This looks like the mean of the squared differences of the means.
            A distance sums over the features.
            Use `sum`, not `mean`."""),
        Mistake("sum of all entries", (".trace()", ".sum()")).says("""
            This looks like the sum of all entries of the matrix.
            The trace is the sum of the diagonal.
            Use `.trace()`."""),
        Mistake(
            "standard deviations for covariances", lambda m1, c1, m2, c2: frechet(m1, c1 @ c1, m2, c2 @ c2)
        ).says("""
            This looks as if the covariances had been squared first.
            They are given as covariances, and not as their roots.
            Use them as they are."""),
        Mistake("squared difference of the covariances", ("spread.trace()", "((cov1 - cov2) ** 2).sum()")).says("""
            This looks like the squared difference of the covariances, entry by entry.
            Covariances are squared lengths already, and squaring them again gives fourth powers.
            Use the trace of (12.4)."""),
        Mistake("root of the whole", lambda *case: frechet(*case).sqrt()).says("""
            This looks like the distance itself; the square is asked for.
            What is called Frechet distance (or FID) in the literature is the square.
            Leave out the last square root."""),
    ),
    consequence=(
        "`torchmetrics` sums the roots of the eigenvalues of `cov1 @ cov2`. They are those of your symmetric "
        "matrix, and the sum is the same."
    ),
)
