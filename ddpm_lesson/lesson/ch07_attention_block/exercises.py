"""Exercises of notebook 07: pixels to tokens and back, attention, heads, the whole block, and what it costs."""

from typing import Any

import torch
from torch import Tensor, nn

from ddpm_lesson.lesson.kit.exercise import Exercise, Mistake, numbers

check_to_tokens = Exercise(
    function="to_tokens",
    solution=lambda x: x.flatten(2).transpose(1, 2),
    cases=[(numbers(2, 3, 4, 5, seed=1),), (numbers(1, 6, 2, 3, seed=2),), (numbers(3, 4, 6, 1, seed=3),)],
    mistakes=(
        Mistake("view without transpose", lambda x: x.reshape(x.shape[0], -1, x.shape[1])).says("""
            This has the right shape, but the numbers are cut up in the order in which they lie in memory.
            In memory channel 0 comes first with all its pixels. A token needs one number from *every* channel.
            First flatten the pixels, (B, C, H*W); then *swap* the last two axes with `transpose(1, 2)`."""),
        Mistake("rows for pixels", lambda x: x.transpose(1, 2).reshape(x.shape[0], -1, x.shape[1])).says("""
            This has the right shape, but height was swapped with the channels before the pixels were joined.
            Before you swap, the pixels should already be *one* axis.
            First `.flatten(2)`, then `.transpose(1, 2)`."""),
        Mistake("not transposed", lambda x: x.flatten(2)).says("""
            This looks like (B, C, H*W): one row a channel.
            A token is a pixel, and its entries are the channels. Which axis should come last?
            Swap the last two axes: `.transpose(1, 2)`."""),
        Mistake("pixels column by column", lambda x: x.permute(0, 3, 2, 1).flatten(1, 2)).says("""
            This looks like pixels counted down the columns.
            Any order would do for attention, but here the order is the usual one, row by row.
            Height before width: `permute(0, 2, 3, 1)`, then flatten."""),
        Mistake("not flattened", lambda x: x.permute(0, 2, 3, 1)).says("""
            This looks like (B, H, W, C): the channels are last, but rows and columns are still apart.
            Attention wants one list of tokens.
            Join the axes of height and width: `.flatten(1, 2)`."""),
        Mistake("batch flattened too", lambda x: x.permute(0, 2, 3, 1).flatten(0, 2)).says("""
            This looks like one list of the pixels of *all* images.
            Then a pixel of one image would look at those of another.
            Leave the first axis alone: `.flatten(1, 2)`."""),
        Mistake("one token an image", lambda x: x.flatten(1)).says("""
            This looks like each image as one long row.
            There is one token for each *pixel*.
            Only the two axes of height and width become one: `.flatten(2)`."""),
        Mistake("tokens first", lambda x: x.flatten(2).permute(2, 0, 1)).says("""
            This looks like (H*W, B, C), the order of some text models.
            Here the batch comes first.
            `.flatten(2).transpose(1, 2)`."""),
    ),
    consequence="From here on nothing knows that the tokens were pixels in a grid.",
)

check_to_image = Exercise(
    function="to_image",
    solution=lambda tokens, height, width: tokens.transpose(1, 2).unflatten(2, (height, width)),
    cases=[
        (numbers(2, 20, 3, seed=1), 4, 5),
        (numbers(1, 6, 6, seed=2), 2, 3),
        (numbers(3, 16, 4, seed=3), 2, 8),
        (numbers(2, 6, 2, seed=4), 6, 1),
    ],
    mistakes=(
        Mistake("view without transpose", lambda tokens, h, w: tokens.reshape(len(tokens), -1, h, w)).says("""
            This has the right shape, but the numbers of one token are strewn over the image.
            In memory the channels of one pixel lie side by side. What does an image want side by side?
            First `transpose(1, 2)`, then `reshape(B, C, height, width)`."""),
        Mistake("channels last", lambda tokens, h, w: tokens.unflatten(1, (h, w))).says("""
            This looks like (B, H, W, C).
            PyTorch's convolutions want the channels before height and width.
            `.permute(0, 3, 1, 2)`, or transpose before you reshape."""),
        Mistake("height and width swapped", lambda tokens, h, w: tokens.mT.unflatten(2, (w, h))).says("""
            This looks like (B, C, W, H).
            Tokens are counted row by row, so the width is what runs fastest.
            Reshape to `height, width`, in this order."""),
        Mistake("columns for rows", lambda tokens, h, w: tokens.mT.unflatten(2, (w, h)).mT).says("""
            This looks like an image filled column by column.
            Which pixel does the second token belong to, the one to the right or the one below?
            Reshape to `height, width` at once, without another transposition."""),
        Mistake("not reshaped", lambda tokens, h, w: tokens.mT).says("""
            This looks like (B, C, H*W): the pixels are still a list.
            The list has to become rows and columns again.
            `.reshape(B, C, height, width)`."""),
        Mistake("transposed as an image", lambda tokens, h, w: tokens.unflatten(1, (h, w)).permute(0, 3, 2, 1)).says("""
            This looks like the image mirrored at its diagonal.
            Height is the axis before width.
            `.permute(0, 3, 1, 2)`."""),
    ),
    consequence="It undoes `to_tokens` exactly. Try `to_image(to_tokens(x), H, W)` on a picture of your own.",
)


def attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Every query's mean of the values: (B, N, d_k), (B, M, d_k), (B, M, d_v) to (B, N, d_v)."""
    scores = q @ k.mT / q.shape[-1] ** 0.5
    return scores.softmax(-1) @ v


check_attention = Exercise(
    solution=attention,
    cases=[
        tuple(numbers(2, 5, 3, seed=i) for i in (1, 2, 3)),
        (numbers(1, 4, 8, seed=4), numbers(1, 6, 8, seed=5), numbers(1, 6, 3, seed=6)),
        (numbers(3, 9, 2, seed=7), numbers(3, 7, 2, seed=8), numbers(3, 7, 2, seed=9)),
    ],
    mistakes=(
        Mistake("no scale", (" / q.shape[-1] ** 0.5", "")).says(r"""
            This looks like attention without the $1/\sqrt{d_k}$.
            Look at the first step of the recipe: what happens to the scores before the softmax?
            `scores / q.shape[-1] ** 0.5`."""),
        Mistake("copied constant", ("q.shape[-1] ** 0.5", "2**0.5")).says("""
            This looks like a division by the root of 2, whatever the number of channels is.
            In the example above d_k was 2. What is it here?
            Take it from the tensor: `q.shape[-1] ** 0.5`."""),
        Mistake("d for its root", (" ** 0.5", "")).says("""
            This looks like scores divided by $d_k$, without the root.
            $d_k$ is the *variance* of the scores. What do you divide by to make a variance 1?
            `q.shape[-1] ** 0.5`."""),
        Mistake("multiplied by the root", ("/ q", "* q")).says(r"""
            This looks like scores *multiplied* by $\sqrt{d_k}$.
            The scores are already too large. Should they grow or shrink?
            Divide."""),
        Mistake("scale by the number of tokens", ("/ q.shape[-1]", "/ q.shape[-2]")).says("""
            This looks like scores divided by the root of the number of tokens.
            A score is a sum over channels. How many terms does it have?
            The size of the last axis, `q.shape[-1]`, not that of the one before."""),
        Mistake("scale after the softmax", (" / q.shape[-1] ** 0.5", "", "@ v", "@ v / v.shape[-1] ** 0.5")).says(r"""
            This looks like the division by $\sqrt{d_k}$ *after* the softmax.
            After the softmax the weights are set, and a division only makes the answer fainter.
            Divide the scores, then take the softmax."""),
        Mistake("softmax over the queries", ("softmax(-1)", "softmax(-2)")).says("""
            This looks like a softmax over the queries: columns sum to 1, rows do not.
            Each *query* shares out a total of 1 over the keys. Which axis of (B, queries, keys) is that?
            `softmax(dim=-1)`."""),
        Mistake("softmax over the batch", ("softmax(-1)", "softmax(0)")).says("""
            This looks like a softmax over the first axis, which is the batch.
            Images have nothing to do with each other.
            `softmax(dim=-1)`, over the keys."""),
        Mistake("softmax over everything", (".softmax(-1)", ".flatten(1).softmax(1).view_as(scores)")).says("""
            This looks like one softmax over all pairs of tokens.
            Every row is to sum to 1, not the whole map.
            `softmax(dim=-1)` and nothing flattened."""),
        Mistake("no softmax", (".softmax(-1)", "")).says("""
            This looks like values weighted with the scores themselves.
            Scores may be negative, and they do not sum to 1.
            `scores.softmax(dim=-1)` before the weighted sum."""),
        Mistake("sigmoid", ("softmax(-1)", "sigmoid()")).says("""
            This looks like a sigmoid for each score by itself.
            Then the weights are positive, but nothing makes them sum to 1.
            `softmax(dim=-1)`."""),
        Mistake("queries with queries", ("q @ k", "q @ q")).says("""
            This looks like queries compared with queries.
            Who answers a query?
            `q @ k.transpose(-2, -1)`."""),
        Mistake("keys with keys", ("q @ k", "k @ k")).says("""
            This looks like keys compared with keys.
            Nothing in it depends on what was asked.
            `q @ k.transpose(-2, -1)`."""),
        Mistake("queries and keys swapped", ("q @ k", "k @ q")).says("""
            This looks like queries and keys in each other's place.
            Row i of the map belongs to query i.
            `q @ k.transpose(-2, -1)`, in this order."""),
        Mistake("keys and values swapped", ("q @ k", "q @ v", ") @ v", ") @ k")).says("""
            This looks like keys and values in each other's place.
            Keys are compared with the query. Values are what is handed over.
            Scores from `q` and `k`; the weighted sum is over `v`."""),
        Mistake("scores with the values", ("q @ k", "q @ v")).says("""
            This looks like queries compared with the values.
            Which of the three was made to be *found*?
            Scores from `q` and `k`; `v` comes in only after the softmax."""),
        Mistake(
            "no scale, and softmax over the queries", (" / q.shape[-1] ** 0.5", "", "softmax(-1)", "softmax(-2)")
        ).says(r"""
            This looks like two things at once: no $1/\sqrt{d_k}$, and a softmax over the queries.
            Read the steps of the recipe again, one by one: what happens to the scores, and over what is the softmax?
            `scores / q.shape[-1] ** 0.5`, then `softmax(dim=-1)`."""),
        Mistake(
            "channels as tokens", ("q @ k.mT", "q.mT @ k", "scores.softmax(-1) @ v", "v @ scores.softmax(-1)")
        ).says("""
            This looks like a map of channels against channels: (d_k, d_k), not (N, N).
            A score belongs to two *pixels*. Which axis of `q` and `k` should be summed away?
            `q @ k.transpose(-2, -1)`, with the transposition on `k`."""),
        Mistake("keys handed over", (") @ v", ") @ k")).says("""
            This looks like a weighted sum of the keys.
            The key says *whether* to look, another vector says *what* there is to see.
            `weights @ v`."""),
        Mistake("map transposed", (") @ v", ").mT @ v")).says("""
            This looks like the map transposed before the weighted sum.
            Output i is a sum over j of weight (i, j) times value j.
            `weights @ v`, without a transposition."""),
        Mistake("the map itself", (" @ v", "")).says("""
            This looks like the attention map, tokens by tokens.
            It says where to look. What is seen there?
            `weights @ v`."""),
        Mistake("hard choice", ("scores.softmax(-1)", "(scores == scores.amax(-1, keepdim=True)).to(v)")).says("""
            This looks like taking the best key only.
            A choice has no gradient, so it cannot be learned. That is what the soft maximum is for.
            `softmax(dim=-1)`."""),
    ),
    consequence="`F.scaled_dot_product_attention(q, k, v)` gives the same numbers, and never holds the whole map.",
)

check_split_heads = Exercise(
    function="split_heads",
    solution=lambda x, n_heads: x.unflatten(2, (n_heads, -1)).transpose(1, 2),
    cases=[
        (numbers(2, 5, 6, seed=1), 2),
        (numbers(1, 4, 12, seed=2), 3),
        (numbers(2, 6, 8, seed=3), 4),
        (numbers(3, 4, 6, seed=4), 2),
    ],
    mistakes=(
        Mistake("view in the wrong order", lambda x, n: x.reshape(x.shape[0], n, x.shape[1], -1)).says("""
            This has the right shape, but a head gets *some tokens* with all channels cut to pieces.
            `view` never moves a number. The head has to be split off the last axis, and only then moved forward.
            `x.view(B, N, n_heads, d_k).transpose(1, 2)`."""),
        Mistake("not moved forward", lambda x, n: x.unflatten(2, (n, -1))).says("""
            This looks like (B, N, heads, d_k).
            A matrix product works on the last two axes, and these should be tokens and channels.
            `.transpose(1, 2)`."""),
        Mistake("every other channel", lambda x, n: x.unflatten(2, (-1, n)).permute(0, 3, 1, 2)).says("""
            This looks like channels dealt out to the heads like cards, one by one.
            Here each head gets *neighbouring* channels: the first d_k, the next d_k, ...
            `view(B, N, n_heads, d_k)`: the head comes before the channel."""),
        Mistake("heads and channels swapped", lambda x, n: x.unflatten(2, (-1, n)).transpose(1, 2)).says("""
            This looks like d_k heads with as many channels as there should be heads.
            In `view`, which of the two numbers is the number of heads?
            `view(B, N, n_heads, d_k)`."""),
        Mistake("channels before tokens", lambda x, n: x.unflatten(2, (n, -1)).permute(0, 2, 3, 1)).says("""
            This looks like (B, heads, d_k, N).
            Tokens are rows: they come before the channels.
            `.transpose(1, 2)` moves the heads forward and leaves the rest in order."""),
        Mistake("heads in the batch", lambda x, n: x.unflatten(2, (n, -1)).transpose(1, 2).flatten(0, 1)).says("""
            This looks like (B * heads, N, d_k): right numbers, heads folded into the batch.
            Some old code does that. Here four axes are asked for.
            Leave the last `view` away."""),
        Mistake("heads first", lambda x, n: x.unflatten(2, (n, -1)).permute(2, 0, 1, 3)).says("""
            This looks like (heads, B, N, d_k).
            The batch stays in front.
            `.transpose(0, 1)`, or `torch.stack(x.chunk(n_heads, -1), dim=1)`."""),
    ),
    consequence="Each head now does its own attention, all of them in one matrix product. The way back is "
    "`.transpose(1, 2).flatten(2)`.",
)


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
        torch.manual_seed(seed)
        norm, projection = nn.GroupNorm(2, n_channels), nn.Linear(n_channels, 3 * n_channels)
        output = nn.Linear(n_channels, n_channels)
        nn.init.normal_(norm.weight, 1, 0.3)
        nn.init.normal_(norm.bias, 0, 0.3)
        nn.init.normal_(projection.weight, 0, n_channels**-0.5)
        x = 1 + 2 * torch.randn(batch, n_channels, height, width)
    return x, norm, projection, output


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
