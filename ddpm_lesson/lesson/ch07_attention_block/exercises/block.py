"""The whole block, and what it costs."""

from typing import Any

import torch
from torch import Tensor, nn

from ddpm_lesson.lesson.ch07_attention_block.experiments import lively
from ddpm_lesson.lesson.kit.exercise import Exercise, Mistake, halved, numbers
from ddpm_lesson.unet import AttentionBlock


def attention_block(x: Tensor, norm: nn.Module, projection: nn.Module, output: nn.Module) -> Tensor:
    """What attention with one head adds to a feature map, and the map, (B, C, H, W)."""
    tokens = norm(x).flatten(2).mT  # (B, H*W, C)
    q, k, v = projection(tokens).chunk(3, -1)
    h = output((q @ k.mT / q.shape[-1] ** 0.5).softmax(-1) @ v)
    h = h.mT.reshape(x.shape)
    return x + h


def block_case(batch: int, n_channels: int, height: int, width: int, seed: int) -> tuple[Any, ...]:
    """A feature map and the three layers of a block, all with weights that matter."""
    with torch.random.fork_rng(devices=[]):
        block = lively(AttentionBlock(n_channels, n_groups=2)).float()
    x = 1 + 2 * numbers(batch, n_channels, height, width, seed=seed)
    return x, block.norm, block.projection, block.output


check_attention_block = Exercise(
    solution=attention_block,
    cases=[block_case(2, 4, 3, 5, 1), block_case(1, 6, 2, 4, 2), block_case(3, 8, 4, 2, 3)],
    mistakes=(
        Mistake("forgotten norm", ("norm(x)", "x")).says("""
            This looks right, but `norm` is never used.
            The block has four parts; which one does your code not mention?
            Start with `h = norm(x)`, and add the result to the plain `x`."""),
        Mistake("forgotten residual", ("x + h", "h")).says("""
            This looks like the branch alone: the input is not added.
            What should the block do when attention has nothing to say?
            `return x + h`."""),
        Mistake("residual of the normalised input", ("x + h", "norm(x) + h")).says("""
            This looks like `norm(x)` plus the branch.
            The shortcut carries the feature map *as it is*, so that nothing is lost on the way.
            Keep `x`, and give the normalised map another name."""),
        Mistake("norm at the end", ("norm(x)", "x", "x + h", "norm(x + h)")).says("""
            This looks like the norm applied to the sum, at the end.
            The first Transformer did that. Here the norm stands in front of the projection.
            Normalise before the tokens are made; the sum goes out as it is."""),
        Mistake("norm of the branch", ("norm(x)", "x", "x + h", "x + norm(h)")).says("""
            This looks like the norm applied to what attention answers.
            It is the *scores* that need it: they grow with the square of what goes in.
            `norm(x)` goes into the projection."""),
        Mistake("norm before and behind", ("x + h", "x + norm(h)")).says("""
            This looks like `norm` used twice: in front, and again on what attention answers.
            The answer is added as it is; only what goes into the projection is normalised.
            Call `norm` once, on `x`, at the start."""),
        Mistake("forgotten norm and residual", ("norm(x)", "x", "x + h", "h")).says("""
            This looks like attention alone: neither the norm nor the shortcut is there.
            Two lines are missing, one at the start and one at the end.
            `h = norm(x)` first, `x + h` last."""),
        Mistake("forgotten output layer", ("output(", "(")).says("""
            This looks like `output` is never used.
            The heads' answers are mixed by one more linear layer before they are added.
            `h = output(h)` on the tokens, before they become an image."""),
        Mistake("tokens by view", (".flatten(2).mT", ".reshape(len(x), -1, x.shape[1])")).says("""
            This looks like tokens made with `view` alone.
            See Exercise 1: a token is one pixel with all its channels.
            `.flatten(2).transpose(1, 2)`."""),
        Mistake("image by view", ("h.mT", "h")).says("""
            This looks like an image made with `view` alone.
            See Exercise 2: channels lie side by side in a token, pixels in an image.
            `.transpose(1, 2)` before the `reshape`."""),
        Mistake("both by view", (".flatten(2).mT", ".reshape(len(x), -1, x.shape[1])", "h.mT", "h")).says("""
            This looks like `view` alone on the way to tokens and on the way back.
            The two mistakes do not cancel: in between, attention has compared the wrong things.
            `.flatten(2).transpose(1, 2)`, and back with `.transpose(1, 2)` before `reshape`."""),
        Mistake("q and k swapped", ("q, k, v", "k, q, v")).says("""
            This looks like q and k taken from the projection in the other order.
            A network trained from scratch would not care. With given weights the order counts.
            `q, k, v = projection(tokens).chunk(3, dim=-1)`."""),
        Mistake("k and v swapped", ("q, k, v", "q, v, k")).says("""
            This looks like k and v taken from the projection in the other order.
            The second third is compared with the queries, the last third is handed over.
            `q, k, v = projection(tokens).chunk(3, dim=-1)`."""),
        Mistake("v first", ("q, k, v", "v, q, k")).says("""
            This looks like the first third of the projection used as values.
            The thirds are queries, keys, values.
            `q, k, v = projection(tokens).chunk(3, dim=-1)`."""),
        Mistake("dealt out one by one", ("chunk(3, -1)", "unflatten(-1, (-1, 3)).unbind(-1)")).says("""
            This looks like every third channel for q, k and v.
            Each of them is one piece of neighbouring channels.
            `.chunk(3, dim=-1)`."""),
        Mistake("no scale", (" / q.shape[-1] ** 0.5", "")).says(r"""
            This looks like attention without the $1/\sqrt{d_k}$.
            Section 5: what is the variance of the scores?
            Divide the scores by the root of the number of channels of `q`."""),
        Mistake("softmax over the queries", ("softmax(-1)", "softmax(-2)")).says("""
            This looks like a softmax over the queries.
            Rows of the map sum to 1.
            `softmax(dim=-1)`."""),
        Mistake("added twice", ("x + h", "2 * x + h")).says("""
            This looks like the input added twice.
            Is there an in-place `+=` on the way, or a second `x +`?
            Add `x` once, at the very end."""),
        halved(),
    ),
    consequence="This is `AttentionBlock.forward` for one head, with the norm that some well-known versions forget.",
)


def in_convolutions(side: int, n_channels: int) -> float:
    """Multiply-adds of a block with one head, over those of a 3x3 convolution."""
    pairs, linear = 2 * side**4 * n_channels, 4 * side**2 * n_channels**2
    return (pairs + linear) / (9 * side**2 * n_channels**2)


check_in_convolutions = Exercise(
    solution=in_convolutions,
    cases=[(16, 256), (32, 128), (8, 32), (5, 12)],
    mistakes=(
        Mistake("pixels for pairs", ("side**4", "side**2")).says("""
            This looks like a score for each pixel, where there is one for each *pair* of pixels.
            How many tokens are there, and how many pairs of tokens?
            $N = S^2$ tokens make $N^2 = S^4$ pairs: `2 * side**4 * n_channels`."""),
        Mistake("sides for pixels", ("4 * side**2", "4 * side", "side**4", "side**2")).says("""
            This looks like a map with `side` pixels in all.
            `side` is the height, and the width as well.
            $N$ = `side**2` tokens: `2 * side**4 * n_channels + 4 * side**2 * n_channels**2`."""),
        Mistake("one product over the pairs", ("2 * side**4", "side**4")).says("""
            This looks like one product over all pairs.
            The map is made from queries and keys. What is it used for then?
            Scores and the weighted sum of values cost the same: `2 * side**4 * n_channels`."""),
        Mistake("output layer forgotten", ("4 * side**2", "3 * side**2")).says("""
            This looks like the projection alone, without the output layer.
            What happens to the heads' answers before they are added?
            C to 3 C and C to C: `4 * side**2 * n_channels**2`."""),
        Mistake("projection counted once", ("4 * side**2", "2 * side**2")).says("""
            This looks like a projection from C to C channels.
            It makes three vectors for each token.
            C to 3 C and C to C: `4 * side**2 * n_channels**2`."""),
        Mistake("pairs only", ("pairs + linear", "pairs")).says("""
            This looks like the two products over the pairs alone.
            The block also has two linear layers.
            Add `4 * side**2 * n_channels**2`."""),
        Mistake("linear layers only", ("pairs + linear", "linear")).says("""
            This looks like the linear layers alone, so it does not depend on the side.
            And the scores?
            Add `2 * side**4 * n_channels`."""),
        Mistake("channels forgotten in the pairs", ("side**4 * n_channels", "side**4")).says("""
            This looks like one multiply-add for each pair and product.
            A score is a dot product. How many terms does it have?
            With one head, $d_k = C$: `2 * side**4 * n_channels`."""),
        Mistake("three weights for nine", ("9 *", "3 *")).says("""
            This looks like a convolution with a kernel of three weights.
            The kernel is 3 high *and* 3 wide.
            `9 * side**2 * n_channels**2`."""),
        Mistake("convolution of one channel", ("n_channels**2)", "n_channels)")).says("""
            This looks like a convolution in which each channel sees only itself.
            There is a 3x3 kernel for each *pair* of a channel in and a channel out.
            `9 * side**2 * n_channels**2`."""),
        Mistake("not divided", (" / (9 * side**2 * n_channels**2)", "")).says("""
            This looks like the multiply-adds of the block, not yet compared.
            The question is how many convolutions they would pay for.
            Divide by `9 * side**2 * n_channels**2`."""),
        Mistake("upside down", lambda *case: 1 / in_convolutions(*case)).says("""
            This looks like the convolution measured in attention blocks.
            Which of the two should stand below the line?
            The convolution, `9 * side**2 * n_channels**2`, below."""),
    ),
    consequence="In short it is $(2 S^2 / C + 4) / 9$: the pairs overtake the linear layers where $S^2 = 2 C$, for 256 "
    "channels at a side of about 23.",
)
