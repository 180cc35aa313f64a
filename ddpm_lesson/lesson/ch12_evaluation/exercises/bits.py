"""What a byte costs, and bits from a density."""

import math

import torch
from torch import Tensor

from ddpm_lesson.lesson.kit.exercise import Exercise, Mistake

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
        Mistake("base 10", ("mass.log()", "mass.log10()")).says("""
            This looks like a logarithm to base 10.
            A nat is one factor of e.
            Use the natural logarithm: `.log()`."""),
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
        Mistake(
            "truncated and renormalised",
            (
                *(" if byte < 255 else math.inf", "", " if byte > 0 else math.inf", "", "mass.log()"),
                "(mass / normal.cdf(torch.tensor([-256 / 255, 256 / 255], dtype=F64)).diff()[0]).log()",
            ),
        ).says("""
            This looks like a Gaussian that is cut off at the outer bytes and scaled so that the rest adds up to 1.
            (12.1) keeps the Gaussian as it is. Who gets the mass out there?
            Give it to bytes 0 and 255, and divide by nothing."""),
        Mistake("bin that ends at the value", ("127.5 - 1", "127.5 - 1 - 1 / 255")).says("""
            This looks like a bin that starts at the byte below and ends at the byte's value.
            Rounding takes what is within half a step to either side.
            From `x0 - 1/255` to `x0 + 1/255`."""),
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
        Mistake("base 10", ("log(2)", "log(10)", "log2", "log10")).says("""
            This looks like decimal digits per dimension: logarithms to base 10.
            How many values can one bit tell apart?
            Divide by ln 2, and use `math.log2` for the bin."""),
        Mistake("bin in base 10", ("log2", "log10")).says("""
            This looks like bits of the density plus *decimal digits* of the bin.
            `math.log10` is the logarithm to base 10.
            Use `math.log2(255 / 2)`."""),
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
