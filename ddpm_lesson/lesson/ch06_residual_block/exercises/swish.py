"""The activation between the layers: Swish."""

import torch
import torch.nn.functional as F

from ddpm_lesson.lesson.kit.exercise import Exercise, Mistake, numbers

check_swish = Exercise(
    function="swish",
    solution=F.silu,
    cases=[
        (torch.linspace(-6, 6, 13),),
        (2.0 * numbers(2, 3, 4, seed=5),),
        (torch.tensor([[-1.2785, 0.5], [3.0, -8.0]]),),
    ],
    mistakes=(
        Mistake("ReLU", F.relu).says("""
            This looks like ReLU: x above 0, and 0 below.
            Swish lets a little of the negative side through. What is multiplied with x?
            `x * torch.sigmoid(x)`."""),
        Mistake("ReLU through the gate", lambda x: F.relu(x) * torch.sigmoid(x)).says("""
            This looks like ReLU times the gate: nothing is let through below 0.
            The gate multiplies `x` itself, negative or not.
            `x * torch.sigmoid(x)`."""),
        Mistake("sigmoid alone", torch.sigmoid).says("""
            This looks like the sigmoid alone.
            The sigmoid is the gate. What goes through it?
            Multiply by `x`."""),
        Mistake("tanh for sigmoid", lambda x: x * x.tanh()).says(r"""
            This looks like x times tanh(x), which is never negative.
            A gate lies between 0 and 1. Does tanh?
            $\sigma(x) = 1/(1+e^{-x})$: `torch.sigmoid(x)`."""),
        Mistake("GELU", F.gelu).says("""
            This looks like GELU, a close relative: x times the distribution function of a standard Gaussian.
            Here the gate is the sigmoid $1/(1+e^{-x})$.
            `x * torch.sigmoid(x)`."""),
        Mistake("sign in the exponent", lambda x: x * torch.sigmoid(-x)).says("""
            This looks like a gate that closes for large x.
            In $1/(1+e^{-x})$ there is a minus in the exponent.
            `x / (1 + torch.exp(-x))`."""),
        Mistake("softplus", F.softplus).says(r"""
            This looks like softplus, $\ln(1+e^x)$.
            Softplus is always positive; Swish dips below 0.
            `x * torch.sigmoid(x)`."""),
        Mistake("softmax for sigmoid", lambda x: x * x.softmax(-1)).says("""
            This looks like x times a softmax, in which the values compete.
            In Swish every value has its own gate and knows nothing of its neighbours.
            `x * torch.sigmoid(x)`."""),
        Mistake("the slope", lambda x: x.sigmoid() * (1 + x * (1 - x.sigmoid()))).says("""
            This looks like the derivative of Swish.
            Asked for is the function itself, (6.3) left.
            `x * torch.sigmoid(x)`."""),
    ),
    consequence=r"PyTorch calls it `F.silu`. Its slope is 0 at one point only, and there the value is exactly $1 + x$.",
)
