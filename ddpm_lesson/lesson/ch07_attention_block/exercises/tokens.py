"""Pixels to tokens and back, and tokens to heads."""

from ddpm_lesson.lesson.kit.exercise import Exercise, Mistake, numbers

MAPS = ((2, 3, 4, 5), (1, 6, 2, 3), (3, 4, 2, 8), (2, 2, 6, 1))  # (B, C, H, W)

check_to_tokens = Exercise(
    function="to_tokens",
    solution=lambda x: x.flatten(2).transpose(1, 2),
    cases=[(numbers(*shape, seed=1),) for shape in MAPS],
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
    cases=[(numbers(B, h * w, C, seed=1), h, w) for B, C, h, w in MAPS],
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

check_split_heads = Exercise(
    function="split_heads",
    solution=lambda x, n_heads: x.unflatten(2, (n_heads, -1)).transpose(1, 2),
    cases=[(numbers(*shape, seed=1), n) for *shape, n in ((2, 5, 6, 2), (1, 4, 12, 3), (2, 6, 8, 4), (3, 4, 6, 2))],
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
