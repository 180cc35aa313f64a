"""Exercises of notebook 12: what a byte costs, bits from a density, the Frechet distance, the nearest neighbour."""

import math

import torch
from torch import Tensor

from ddpm_lesson.lesson.kit.exercise import Exercise, Mistake, halved

F64 = torch.float64


def byte_log_likelihood(byte: int, mean: float, std: float) -> Tensor:
    """ln of the mass of N(mean, std^2) in the bin of a byte: equation (12.1)."""
    normal = torch.distributions.Normal(torch.tensor(mean, dtype=F64), std)
    x0 = torch.tensor(byte / 127.5 - 1, dtype=F64)
    upper = x0 + (1 / 255 if byte < 255 else math.inf)
    lower = x0 - (1 / 255 if byte > 0 else math.inf)
    mass = normal.cdf(upper) - normal.cdf(lower)
    return mass.log()


check_byte_log_likelihood = Exercise(
    solution=byte_log_likelihood,
    cases=(
        (160, 0.2, 0.05),
        (0, -0.9, 0.1),
        (255, 0.9, 0.2),
        (100, -0.212, 0.004),
        (128, 0.0, 0.5),
        (1, -0.95, 0.1),
        (254, 0.9, 0.2),
        (120, 0.2, 0.08),  # a mass of 2e-4
    ),
    mistakes=(
        Mistake("edge bins forgotten", (" if byte < 255 else math.inf", "", " if byte > 0 else math.inf", "")).says("""
            This looks right for the bytes in the middle, but bytes 0 and 255 have a bin like the others.
            A Gaussian reaches beyond [-1, 1]. Where does the mass out there go?
            The bin of 0 starts at minus infinity and that of 255 ends at infinity: put 0 and 1 there."""),
        Mistake(
            "bins end at -1 and 1", ("< 255 else math.inf", "< 255 else 0", "> 0 else math.inf", "> 0 else 0")
        ).says("""
            This looks as if the outer bins ended at -1 and 1.
            A Gaussian has mass beyond. Where does it go?
            Put 0 below byte 0 and 1 above byte 255."""),
        Mistake(
            "outer bins without their inner half", ("+ (1 /", "+ ((byte > 0) /", "- (1 /", "- ((byte < 255) /")
        ).says("""
            This looks as if the outer bins missed their inner half.
            Byte 0 takes all that is rounded to it. From where on is that byte 1?
            Byte 0 reaches up to `x0 + 1/255`, byte 255 down to `x0 - 1/255`."""),
        Mistake("only the upper end", (" if byte > 0 else math.inf", "")).says("""
            This looks right but for byte 0: its bin has a lower end.
            A Gaussian reaches below -1 too. Which byte is to take the mass down there?
            The bin of 0 starts at minus infinity: put 0 there."""),
        Mistake("only the lower end", (" if byte < 255 else math.inf", "")).says("""
            This looks right but for byte 255: its bin has an upper end.
            A Gaussian reaches beyond 1. Which byte is to take the mass up there?
            The bin of 255 ends at infinity: put 1 there."""),
        Mistake("ends swapped", ("byte < 255", "byte != 0", "byte > 0", "byte != 255")).says("""
            This looks right in the middle, with the two ends exchanged.
            Which byte has nothing below it, and what is the mass below minus infinity?
            For byte 0 the *lower* value is 0, for byte 255 the *upper* one is 1."""),
        Mistake("two bytes at each end", ("byte < 255", "byte < 254", "byte > 0", "byte > 1")).says("""
            This looks as if bytes 1 and 254 had bins without end, too.
            Then their bins would overlap with those of 0 and 255.
            Compare with 0 and 255 exactly."""),
        Mistake("density for mass", ("mass.log()", "normal.log_prob(x0)")).says("""
            This looks like the density, which can be above 1.
            A byte is one of 256 values. Its probability is an area under the density.
            Take the difference of the distribution function at the two ends of the bin."""),
        Mistake("density times width", ("mass.log()", "normal.log_prob(x0) + math.log(2 / 255)")).says("""
            This looks like the density times the width of the bin, (12.2).
            That is close while the bin is narrow. One of the cases has a standard deviation of half a bin.
            Take the difference of the distribution function at the two ends of the bin."""),
        Mistake("bin half as wide", ("+ (1 / 255", "+ (0.5 / 255", "- (1 / 255", "- (0.5 / 255")).says("""
            This looks like a bin of 1/255.
            From -1 to 1 there are 255 steps. How long is one?
            The bin is 2/255 wide, so it reaches 1/255 to each side."""),
        Mistake("bin of 256 steps", ("+ (1 / 255", "+ (1 / 256", "- (1 / 255", "- (1 / 256")).says("""
            This looks like a bin of 2/256: between neighbours there would be gaps.
            256 values have 255 steps between them.
            From `x0 - 1/255` to `x0 + 1/255`."""),
        Mistake("bin twice as wide", ("+ (1 / 255", "+ (2 / 255", "- (1 / 255", "- (2 / 255")).says("""
            This looks like a bin of 4/255: neighbouring bins would overlap.
            The bin is 2/255 wide in all.
            It reaches 1/255 to each side."""),
        Mistake("byte in [0, 1]", ("127.5 - 1", "255")).says("""
            This looks like a byte scaled to [0, 1].
            The mean is on the scale of the data. Which one is that in this lesson?
            `x0 = byte / 127.5 - 1`."""),
        Mistake("divided by 128", ("127.5", "128")).says("""
            This looks like a byte divided by 128, so that 255 is not quite 1.
            Which number must byte 255 become?
            `x0 = byte / 127.5 - 1`."""),
        Mistake("variance for standard deviation", ("F64), std)", "F64), std**2)")).says("""
            This looks as if `std` had been squared before it was used as a width.
            `Normal` takes the standard deviation.
            Use `std` as it is."""),
        Mistake("root of the standard deviation", ("F64), std)", "F64), std**0.5)")).says("""
            This looks as if the root of `std` had been taken.
            `std` is the standard deviation already, not the variance.
            Use `std` as it is."""),
        Mistake(
            "difference of the logarithms", ("mass.log()", "normal.cdf(upper).log() - normal.cdf(lower).log()")
        ).says("""
            This looks like the difference of two logarithms.
            The logarithm of a difference is something else.
            Subtract first, then take the logarithm."""),
        Mistake("all that lies below", ("mass.log()", "normal.cdf(x0).log()")).says("""
            This looks like the mass of everything below the byte's value.
            How much of it lies in this byte's bin?
            Subtract the mass below the bin from the mass below its upper end."""),
        Mistake("never below a thousandth", ("mass.log()", "mass.clamp(min=1e-3).log()")).says("""
            This looks right for likely bytes, and the same for all those whose mass is below a thousandth.
            A bound against log(0) must lie below every mass that occurs. What does a surprising byte cost?
            Take the bound away, or a far smaller one, such as 1e-12."""),
        Mistake("probability", ("mass.log()", "mass")).says("""
            This looks like the probability itself.
            What is asked for adds up over the values of an image.
            Take the logarithm."""),
        Mistake("bits", ("mass.log()", "mass.log2()")).says("""
            This looks like a logarithm to base 2.
            The exercise asks for nats; bits come later.
            Use the natural logarithm."""),
        Mistake("cost", ("mass.log()", "-mass.log()")).says("""
            This looks right with the other sign: what the byte costs.
            The logarithm of a probability is never above 0.
            Leave out the minus."""),
        Mistake("cost in bits", ("mass.log()", "-mass.log2()")).says("""
            This looks like what the byte costs, in bits.
            The exercise asks for the logarithm of the probability, in nats; bits come later.
            The natural logarithm, without a minus."""),
        Mistake("one-sided bin", ("127.5 - 1", "127.5 - 1 + 1 / 255")).says("""
            This looks like a bin that starts at the byte's value and ends at the next.
            Rounding takes what is within half a step to either side.
            From `x0 - 1/255` to `x0 + 1/255`."""),
    ),
    consequence="The 256 masses add up to 1, whatever the Gaussian. Only so can bits be compared with other models.",
)


def image_bits(log_density: Tensor, shape: tuple[int, ...]) -> Tensor:
    """ln of a density of whole images on [-1, 1] as bits per dimension of their bytes: equation (12.2). (B,)"""
    return -log_density / (math.prod(shape[1:]) * math.log(2)) + math.log2(255 / 2)


check_image_bits = Exercise(
    solution=image_bits,
    cases=(
        (torch.tensor([900.0, -300.0], dtype=F64), (2, 1, 28, 28)),
        (torch.tensor([5000.0, 100.0, -2000.0], dtype=F64), (3, 3, 32, 32)),
        (torch.tensor([20.0], dtype=F64), (1, 3, 4, 8)),
    ),
    mistakes=(
        Mistake("bin width forgotten", (" + math.log2(255 / 2)", "")).says("""
            This looks as if the width of a bin had been forgotten: such numbers can be below 0.
            A density is probability per unit of length. How long is a byte's bin?
            Each value adds log2(255/2), about 7 bits."""),
        Mistake("bin width of [0, 1]", ("255 / 2", "255")).says("""
            This looks like a bin of 1/255.
            That would be right for data in [0, 1]. Here they are in [-1, 1].
            The bin is 2/255 wide: add log2(255/2)."""),
        Mistake("width of [0, 1] and 256 bins", ("255 / 2", "256")).says("""
            This looks like a bin of 1/256: you added 8 exactly.
            That is log2(256), for data in [0, 1]. Here they are in [-1, 1].
            The bin is 2/255 wide: add log2(255/2), a little less than 7."""),
        Mistake("bin width of 256 bins", ("255 / 2", "256 / 2")).says("""
            This looks like a bin of 2/256: you added 7 exactly.
            256 values have 255 steps between them.
            The bin is 2/255 wide: add log2(255/2), a little less than 7."""),
        Mistake("width with the wrong sign", ("255 / 2", "2 / 255")).says("""
            This looks as if the bin's width had been subtracted instead of added in bits.
            A narrower bin has less mass. Should it cost more or fewer bits?
            Mass is density times 2/255, so bits are those of the density plus log2(255/2)."""),
        Mistake("width counted once an image", ("(255 / 2)", "(255 / 2) / math.prod(shape[1:])")).says("""
            This looks as if there were one bin for the whole image.
            Every value of the image has a bin of its own.
            Per dimension it is log2(255/2), undivided."""),
        Mistake("nats for bits", (" * math.log(2)", "", "log2", "log")).says("""
            This looks like nats per dimension.
            How many nats is one bit?
            Divide by ln 2."""),
        Mistake("bin in nats", ("log2", "log")).says("""
            This looks like bits of the density plus *nats* of the bin.
            `math.log` is the natural logarithm.
            Use `math.log2(255 / 2)`."""),
        Mistake("nats and bits mixed", (" * math.log(2)", "")).says("""
            This looks like nats of the density plus bits of the bin.
            `log_density` is in nats. The bin's part is in bits already.
            Divide `log_density` by ln 2 as well."""),
        Mistake("not divided by the dimensions", ("math.prod(shape[1:]) * ", "")).says("""
            This looks as if the density had not been divided by the number of values.
            `log_density` is that of a whole image.
            Divide it by `math.prod(shape[1:])`."""),
        Mistake("bits of the whole image", lambda d, shape: image_bits(d, shape) * math.prod(shape[1:])).says("""
            This looks like the bits of the whole image.
            Bits *per dimension* do not grow with the size of the image.
            Divide by `math.prod(shape[1:])`."""),
        Mistake("times ln 2", ("(math.prod(shape[1:]) * math.log(2))", "math.prod(shape[1:]) * math.log(2)")).says("""
            This looks as if nats had been multiplied by ln 2.
            A bit is less than a nat, so there are more of them.
            Divide by ln 2."""),
        Mistake("batch counted as a dimension", ("shape[1:]", "shape")).says("""
            This looks divided by the size of the batch as well.
            `log_density` holds one number an image. How many values has one image?
            Use `shape[1:]`."""),
        Mistake("channels forgotten", ("shape[1:]", "shape[2:]")).says("""
            This looks like bits per pixel: the channels are not counted.
            A dimension is one value of one pixel.
            Use `shape[1:]`: channels, height and width."""),
        Mistake("other sign", lambda *case: -image_bits(*case)).says("""
            This looks right with the other sign.
            Likely images are cheap: more density, fewer bits.
            Bits are minus a logarithm."""),
        Mistake("sign of the density", ("-log_density", "log_density")).says("""
            This looks as if more density cost more bits.
            A likely image should be cheap.
            Bits are minus a logarithm: put a minus in front of `log_density`."""),
    ),
    consequence=(
        "A model that spreads its density evenly over [-1, 1] has density 1/2 for every value, and gets exactly "
        "log2(255) = 7.99 bits/dim. A constant of 7 bits is easily forgotten."
    ),
    tolerance=5e-5,  # log2(255) and log2(256) are less than a thousandth apart
)


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
