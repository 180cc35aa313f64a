"""Attention of queries, keys and values."""

from ddpm_lesson.lesson.ch07_attention_block.experiments import attention
from ddpm_lesson.lesson.kit.exercise import Exercise, Mistake, halved, numbers

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
        Mistake("softmax over everything", (".softmax(-1)", ".flatten(1).softmax(1).view(*q.shape[:2], -1)")).says("""
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
        Mistake("keys and values swapped", ("q @ k", "q @ v", "weights @ v", "weights @ k")).says("""
            This looks like keys and values in each other's place.
            Keys are compared with the query. Values are what is handed over.
            Scores from `q` and `k`; the weighted sum is over `v`."""),
        Mistake("scores with the values", ("q @ k", "q @ v")).says("""
            This looks like queries compared with the values.
            Which of the three was made to be *found*?
            Scores from `q` and `k`; `v` comes in only after the softmax."""),
        Mistake("no scale, and softmax over the queries", ("/ q.shape[-1] ** 0.5", "", "(-1)", "(-2)")).says(r"""
            This looks like two things at once: no $1/\sqrt{d_k}$, and a softmax over the queries.
            Read the steps of the recipe again, one by one: what happens to the scores, and over what is the softmax?
            `scores / q.shape[-1] ** 0.5`, then `softmax(dim=-1)`."""),
        Mistake("channels as tokens", ("q @ k.mT", "q.mT @ k", "weights @ v", "v @ weights")).says("""
            This looks like a map of channels against channels: (d_k, d_k), not (N, N).
            A score belongs to two *pixels*. Which axis of `q` and `k` should be summed away?
            `q @ k.transpose(-2, -1)`, with the transposition on `k`."""),
        Mistake("keys handed over", ("weights @ v", "weights @ k")).says("""
            This looks like a weighted sum of the keys.
            The key says *whether* to look, another vector says *what* there is to see.
            `weights @ v`."""),
        Mistake("map transposed", ("weights @ v", "weights.mT @ v")).says("""
            This looks like the map transposed before the weighted sum.
            Output i is a sum over j of weight (i, j) times value j.
            `weights @ v`, without a transposition."""),
        Mistake("the map itself", (" @ v", "")).says("""
            This looks like the attention map, tokens by tokens.
            It says where to look. What is seen there?
            `weights @ v`."""),
        Mistake("hard choice", ("q @ k", "1e9 * q @ k")).says("""
            This looks like taking the best key only.
            A choice has no gradient, so it cannot be learned. That is what the soft maximum is for.
            `softmax(dim=-1)`."""),
        halved(),
    ),
    consequence="`F.scaled_dot_product_attention(q, k, v)` gives the same numbers, and never holds the whole map.",
)
