"""The nearest training image."""

import torch
from torch import Tensor

from ddpm_lesson.lesson.ch12_evaluation.exercises.bits import F64
from ddpm_lesson.lesson.kit.exercise import Exercise, Mistake, halved


def nearest(image: Tensor, training_images: Tensor) -> tuple[Tensor, Tensor]:
    """Index of the nearest training image, and its root mean square difference."""
    distance = (training_images - image).flatten(1).square().mean(1).sqrt()
    return distance.argmin(), distance.min()


def images(seed: int, n: int, *shape: int) -> Tensor:
    """Values drawn evenly from [-1, 1], (n, *shape), always the same for a seed."""
    return torch.rand(n, *shape, generator=torch.Generator().manual_seed(seed), dtype=F64) * 2 - 1


def bright_and_dark(seed: int) -> tuple[Tensor, Tensor]:
    """An image, and training images among which measures disagree on which one is nearest."""
    image = images(seed, 1, 1, 4, 4)[0]
    far_in_one = image.clone()
    far_in_one[0, 0, 0] -= 1.5  # nearest by the sum of absolute values
    shifted = image + 0.3  # nearest by squares
    scaled = 0.2 * image + 0.0  # nearest by angle
    balanced = image + torch.tensor([0.9, -0.9], dtype=F64).repeat(8).view(1, 4, 4)  # differences that cancel
    return image, torch.stack((scaled, far_in_one, shifted, balanced))


check_nearest = Exercise(
    solution=nearest,
    cases=(
        bright_and_dark(0),
        bright_and_dark(1),
        (images(5, 1, 3, 4, 4)[0], images(6, 20, 3, 4, 4)),
        (images(7, 9, 1, 8, 8)[4], images(7, 9, 1, 8, 8)),  # it is among them
    ),
    mistakes=(
        Mistake("mean square", (".sqrt()", "")).says("""
            This looks like the mean square: right index, but a squared distance.
            RMS has three letters. Which one is missing?
            Take the square root."""),
        Mistake("sum for mean", ("mean(1)", "sum(1)")).says("""
            This looks like the plain Euclidean distance.
            It grows with the size of the image. What is asked for does not.
            Use the mean of the squares, not their sum."""),
        Mistake("sum of squares", ("mean(1).sqrt()", "sum(1)")).says("""
            This looks like the sum of squares.
            Neither the mean nor the root has been taken.
            `square().mean(1).sqrt()`."""),
        Mistake("absolute differences", ("square().mean(1).sqrt()", "abs().mean(1)")).says("""
            This looks like the mean of the absolute differences, which prefers one large error to many small ones.
            Root mean square, from the back: first the square, then the mean, then the root. Is yours in that order?
            `square().mean(1).sqrt()`: square, mean, and the root last."""),
        Mistake("differences that cancel", ("square().mean(1).sqrt()", "mean(1).abs()")).says("""
            This looks as if differences had been averaged before they were squared: plus and minus cancel.
            An image with as much too bright as too dark is not near.
            Square each difference before taking the mean."""),
        Mistake("largest difference", ("square().mean(1).sqrt()", "abs().amax(1)")).says("""
            This looks like the largest difference of any pixel.
            All pixels should count.
            Take the root of the mean of the squares."""),
        Mistake("spread of the differences", ("square().mean(1).sqrt()", "std(1)")).says("""
            This looks like the standard deviation of the differences, which does not see a brighter image.
            A standard deviation subtracts the mean first.
            Take the root of the mean of the squares."""),
        Mistake("root of the mean absolute difference", ("square()", "abs()")).says("""
            This looks like the root of the mean *absolute* difference.
            Root mean square: which of the three is missing?
            Use `square()` in place of `abs()`."""),
        Mistake("second nearest", ("argmin()", "argsort()[1]", "min()", "sort()[0][1]")).says("""
            This looks like the second nearest.
            Whether the image itself is among them is not yours to know: it may be a copy.
            Take the smallest."""),
        Mistake("farthest", ("argmin()", "argmax()", "min()", "max()")).says("""
            This looks like the farthest image.
            Is a small distance near or far?
            Use `argmin`."""),
        Mistake(
            "by angle", lambda x, others: torch.cosine_similarity(others.flatten(1), x.flatten(), -1).max(0)[::-1]
        ).says("""
            This looks like the largest cosine similarity, which does not see contrast.
            A dim copy is not a copy.
            Use the differences, not the product."""),
        Mistake(
            "angle as a distance",
            lambda x, others: (1 - torch.cosine_similarity(others.flatten(1), x.flatten(), -1)).min(0)[::-1],
        ).says("""
            This looks like 1 minus the cosine similarity, which does not see contrast.
            A dim copy is not a copy.
            Take the root of the mean squared difference."""),
        Mistake("distance and index swapped", lambda *case: nearest(*case)[::-1]).says("""
            This looks right, with distance and index swapped.
            Which of the two comes first?
            `return index, distance`."""),
        halved(),
    ),
    consequence=(
        "A distance of 0 is a copy. Whether a distance above 0 is suspicious only unseen real images can tell, "
        "which have near neighbours too."
    ),
)
