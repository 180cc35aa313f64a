"""The parameters of a residual block."""

from ddpm_lesson.lesson.kit.exercise import Exercise, Mistake


def residual_parameters(c_in: int, c_out: int, d: int) -> int:
    """Weights and biases of a residual block, gains and shifts among them."""
    norm1, conv1 = 2 * c_in, 9 * c_in * c_out + c_out
    time = d * c_out + c_out
    norm2, conv2 = 2 * c_out, 9 * c_out * c_out + c_out
    shortcut = c_in * c_out + c_out if c_in != c_out else 0
    return norm1 + conv1 + time + norm2 + conv2 + shortcut


check_residual_parameters = Exercise(
    solution=residual_parameters,
    cases=[(64, 128, 512), (128, 128, 512), (384, 128, 256), (24, 24, 96)],
    mistakes=(
        Mistake("no biases", lambda i, o, d: residual_parameters(i, o, d) - (3 + (i != o)) * o).says("""
            This looks like weights without biases.
            A convolution and a linear layer add a number to every channel of their output.
            Add `c_out` for each convolution and for the linear layer."""),
        Mistake("convolutions without biases", lambda i, o, d: residual_parameters(i, o, d) - 2 * o).says("""
            This looks like `2 * c_out` too few: the biases of the two 3x3 convolutions, or the second normalisation.
            Both come to the same number. Which of them have you not counted?
            Add `c_out` for each of the two convolutions, and `2 * c_out` for gain and shift of `norm2`."""),
        Mistake("time without bias", ("d * c_out + c_out", "d * c_out")).says("""
            This looks like `c_out` too few: one bias is missing, of the linear layer for the time or of a convolution.
            Three layers always have a bias. Have you counted three times `c_out` for them?
            `d * c_out + c_out` for the time, and `+ c_out` for each 3x3 convolution."""),
        Mistake("shortcut without bias", ("= c_in * c_out + c_out", "= c_in * c_out")).says("""
            This looks like a convolution on the shortcut without its bias.
            The shortcut is a convolution like the others, only 1x1.
            `c_in * c_out + c_out` where the widths differ."""),
        Mistake("scale and shift", ("d * c_out + c_out", "2 * (d * c_out + c_out)")).says("""
            This looks like a time embedding that gives every channel two numbers, a scale and a shift.
            Later networks do that. What does this block do with the time?
            One shift for each channel: `d * c_out + c_out`."""),
        Mistake("no normalisations", ("norm1 + ", "", "norm2 + ", "")).says("""
            This looks like a block whose normalisations have no parameters.
            Group normalisation learns two numbers a channel. Which?
            A gain and a shift: `2 * c_in` for the first, `2 * c_out` for the second."""),
        Mistake("gain without shift", ("2 * c_in", "c_in", "2 * c_out", "c_out")).says("""
            This looks like one number a channel for each normalisation.
            Beside the gain there is something that is added.
            Gain and shift: twice the channels."""),
        Mistake("time forgotten", ("time + ", "")).says("""
            This looks like a block that is not told the time.
            What turns the time embedding into a shift of every channel?
            A linear layer from `d` to `c_out` numbers: `d * c_out + c_out`."""),
        Mistake("time on the way in", ("d * c_out + c_out", "d * c_in + c_in")).says("""
            This looks like a time embedding that is added to the map that comes in.
            The shift is added after the first convolution. How many channels are there then?
            `d * c_out + c_out`."""),
        Mistake("shortcut never", (" + shortcut", "")).says("""
            This looks like a shortcut without a convolution, even where the widths differ.
            Can 64 channels be added to 128?
            If `c_in != c_out`, a 1x1 convolution stands on the shortcut: `c_in * c_out + c_out`."""),
        Mistake("shortcut always", (" if c_in != c_out else 0", "")).says("""
            This looks like a convolution on the shortcut even where the widths are the same.
            What is the shortcut of a block whose input and output have the same channels?
            If `c_in == c_out`, it is the identity and has no parameters."""),
        Mistake("shortcut of 3x3", ("= c_in * c_out", "= 9 * c_in * c_out")).says("""
            This looks like a 3x3 convolution on the shortcut.
            The shortcut only has to change the number of channels.
            It is 1x1: `c_in * c_out + c_out`."""),
        Mistake("second convolution from c_in", ("9 * c_out", "9 * c_in")).says("""
            This looks like two equal convolutions, both from `c_in` to `c_out`.
            What comes into the second one?
            The first has already changed the width: the second goes from `c_out` to `c_out`."""),
        Mistake("first convolution to c_in", ("conv1 +", "9 * c_in * c_in + c_in +", "9 * c_out", "9 * c_in")).says("""
            This looks like a width that changes in the second convolution instead of the first.
            Which of the two convolutions sees `c_in` channels?
            The first goes from `c_in` to `c_out`, the second from `c_out` to `c_out`."""),
        Mistake("second normalisation on c_in", ("2 * c_out", "2 * c_in")).says("""
            This looks like two normalisations of `c_in` channels.
            The second one comes after the first convolution.
            `2 * c_out` for the second."""),
        Mistake("3 instead of 9", ("9 * c_in", "3 * c_in", "9 * c_out", "3 * c_out")).says("""
            This looks like 3 weights for each pair of channels.
            How many pixels does a 3x3 window cover?
            9 for each pair of an input and an output channel."""),
        Mistake("one convolution", ("norm2 + conv2 + ", "")).says("""
            This looks like the first half of the block.
            After the time is added there is another normalisation and another convolution.
            Add `2 * c_out + 9 * c_out * c_out + c_out`."""),
    ),
    consequence="Both convolutions grow with the product of two widths: twice as wide means about four times as many.",
    tolerance=1e-9,
)
