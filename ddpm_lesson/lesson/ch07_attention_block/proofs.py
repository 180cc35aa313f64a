"""Notebook 07: attention, why its scores are scaled, what it does not know, and what it costs."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ddpm_lesson.lesson.ch07_attention_block.cost import attention_macs, map_bytes, memory
from ddpm_lesson.lesson.ch07_attention_block.experiments import attention, lively, shuffled, without_norm
from ddpm_lesson.lesson.kit.proof import Formula, ProofBook, largest, numbers
from ddpm_lesson.lesson.kit.xray import attention_parameters, counted_macs
from ddpm_lesson.unet import AttentionBlock

BOOK = ProofBook(7)
equation, prove, ledger = BOOK.equation, BOOK.prove, BOOK.ledger


def lively_block(n_channels: int, n_heads: int = 1, d_k: int | None = None) -> AttentionBlock:
    """An attention block in which every weight matters, without gradients."""
    return lively(AttentionBlock(n_channels, n_heads, d_k, n_groups=4)).requires_grad_(False)


def by_loops(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Attention one number after the other; (N, d_k), (M, d_k), (M, d_v) -> (N, d_v)."""
    rows = []
    for query in q.tolist():
        scores = [sum(a * b for a, b in zip(query, key, strict=True)) / math.sqrt(len(query)) for key in k.tolist()]
        weights = [math.exp(score) for score in scores]
        rows.append([sum(w * x for w, x in zip(weights, xs, strict=True)) / sum(weights) for xs in v.T.tolist()])
    return torch.tensor(rows, dtype=torch.float64)


@equation(
    "7.1",
    r"o_i = \sum_j a_{ij}\, v_j, \quad a_{ij} = \frac{\exp(q_i \cdot k_j / \sqrt{d_k})}"
    r"{\sum_l \exp(q_i \cdot k_l / \sqrt{d_k})}",
    "loops over plain numbers, and PyTorch's own",
    1e-10,
)
def attention_is(formula: Formula = attention) -> float:
    """Against loops, and against ``F.scaled_dot_product_attention``, for as many keys as queries and for more."""
    errors = []
    for n, m, d_k, d_v in ((4, 4, 3, 3), (5, 7, 2, 6), (9, 9, 16, 16)):
        q, k, v = numbers(n, d_k, seed=1), numbers(m, d_k, seed=2), numbers(m, d_v, seed=3)
        answer = formula(q[None], k[None], v[None])[0]
        errors += [answer - by_loops(q, k, v), answer - F.scaled_dot_product_attention(q[None], k[None], v[None])[0]]
    return largest(errors)


# Why the root


def variance_of_scores(d_k: int) -> float:
    """Variance of q . k for independent entries with mean 0 and variance 1 (Vaswani et al. 2017, footnote 4)."""
    return float(d_k)


def scale_of_scores(d_k: int) -> float:
    """What scores are divided by, so that their variance is 1."""
    return math.sqrt(d_k)


@equation(
    "7.2",
    r"\mathrm{Var}\big[q \cdot k\big] = d_k, \quad \mathrm{Var}\big[q \cdot k / \sqrt{d_k}\big] = 1",
    "every outcome, of entries with two or three values; the scale by bisection",
    1e-12,
)
def scores_grow(formula: Formula = variance_of_scores, scale: Formula = scale_of_scores) -> float:
    """Relative: all vectors q and k of entries -1 or 1, or of -2, 0 and 1 with mean 0 and variance 1, by chance."""
    errors = []
    two, three = ((-1.0, 1.0), (0.5, 0.5)), ((-2.0, 0.0, 1.0), (1 / 6, 1 / 2, 1 / 3))  # values and their chances
    for d_k, entries in ((1, two), (2, three), (3, three), (6, two)):
        entry, chance = torch.tensor(entries, dtype=torch.float64)
        vectors = torch.cartesian_prod(*[entry] * d_k).view(-1, d_k)  # every q, and every k
        weight = torch.cartesian_prod(*[chance] * d_k).view(-1, d_k).prod(1)
        scores, weights = vectors @ vectors.T, weight[:, None] * weight
        errors += [variance(scores, weights) / formula(d_k) - 1, scale(d_k) / found_scale(scores, weights) - 1]
    return largest(errors)


def variance(values: Tensor, weights: Tensor) -> float:
    """Of values with chances that add up to 1."""
    return float((weights * (values - (weights * values).sum()).square()).sum())


def found_scale(scores: Tensor, weights: Tensor) -> float:
    """The number that scores must be divided by to have the variance 1, halving the interval that holds it."""
    low, high = 0.1, 10.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if variance(scores / middle, weights) > 1 else (low, middle)
    return (low + high) / 2


def softmax_jacobian(a: Tensor) -> Tensor:
    """da_i / ds_j for the weights a = softmax(s), (N, N)."""
    return a.diag() - a[:, None] * a[None, :]


@equation("7.3", r"\frac{\partial a_i}{\partial s_j} = a_i\,([i = j] - a_j)", "autograd", 1e-12)
def softmax_reacts(formula: Formula = softmax_jacobian) -> float:
    """Against autograd, for scores from nearly equal to far apart."""
    errors = []
    for scale in (0.1, 1, 10):
        scores = scale * numbers(6)
        jacobian = torch.autograd.functional.jacobian(lambda s: s.softmax(0), scores)
        errors.append(formula(scores.softmax(0)) - jacobian)
    return largest(errors)


# Heads


def sum_of_heads(block: AttentionBlock, x: Tensor) -> Tensor:
    """What the branch of a block adds to the image, head by head: (B, C, H, W) -> (B, C, H, W)."""
    q, k, v = block.qkv(x)  # each (B, heads, N, d_k)
    columns = block.output.weight.chunk(block.n_heads, dim=1)  # (C, d_k) for each head
    heads = attention(q, k, v).unbind(1)  # (B, N, d_k) for each head
    tokens = block.output.bias + sum(o @ w.T for o, w in zip(heads, columns, strict=True))  # (B, N, C)
    return tokens.transpose(1, 2).reshape(x.shape)


@equation(
    "7.4",
    r"W_O\,[o^{(1)}; \dots; o^{(h)}] = \sum_{m=1}^{h} W_O^{(m)}\, o^{(m)}",
    "PyTorch's nn.MultiheadAttention",
    1e-10,
)
def heads_add_up(formula: Formula = sum_of_heads) -> float:
    """Against ``nn.MultiheadAttention`` with the same weights, for 1, 2 and 4 heads."""
    errors, x = [], numbers(2, 8, 3, 5)
    for n_heads in (1, 2, 4):
        block = lively_block(8, n_heads)
        tokens = block.norm(x).flatten(2).transpose(1, 2)
        answer, _ = twin(block)(tokens, tokens, tokens)
        errors.append(formula(block, x) - answer.transpose(1, 2).reshape(x.shape))
    return largest(errors)


@torch.no_grad()
def twin(block: AttentionBlock) -> nn.MultiheadAttention:
    """PyTorch's multi-head attention with the weights of a block; it holds q of all heads first, then k, then v."""
    width = block.output.out_features
    theirs = nn.MultiheadAttention(width, block.n_heads, batch_first=True).double().requires_grad_(False)
    by_head = block.projection.weight.view(block.n_heads, 3, block.d_k, width)
    theirs.in_proj_weight.copy_(by_head.transpose(0, 1).reshape(-1, width))
    theirs.in_proj_bias.copy_(block.projection.bias.view(block.n_heads, 3, block.d_k).transpose(0, 1).reshape(-1))
    theirs.out_proj.load_state_dict(block.output.state_dict())
    return theirs


# The norm that is easy to forget


def growth_of_scores(c: float) -> float:
    """By how much scores grow without the norm, when the feature map grows by c."""
    return c**2


@equation(
    "7.5",
    r"s_{ij}(c\,x) = c^2\, s_{ij}(x), \quad s_{ij}(\mathrm{norm}(c\,x)) = s_{ij}(\mathrm{norm}(x))",
    "a live block, fed larger and larger maps (biases at 0)",
    1e-4,
)
def scores_explode(formula: Formula = growth_of_scores, norm: Formula = lambda block: block) -> float:
    """Relative to the largest score: a block without norm and biases, and a block with norm, which must not care."""
    x, block = numbers(1, 8, 3, 4), lively_block(8)
    bare = without_norm(block)
    bare.projection.bias.zero_()
    kept, errors = norm(block), []
    for c in (0.5, 2.0, 5.0, 30.0):
        errors.append((scores(bare, c * x) - formula(c) * scores(bare, x)) / (c**2 * scores(bare, x).abs().max()))
        errors.append((scores(kept, c * x) - scores(kept, x)) / scores(kept, x).abs().max())
    return largest(errors)


def scores(block: AttentionBlock, x: Tensor) -> Tensor:
    """q k^T / sqrt(d_k), (B, heads, N, N)."""
    q, k, _ = block.qkv(x)
    return q @ k.transpose(-2, -1) / math.sqrt(block.d_k)


# No sense of place


@equation("7.6", r"\mathrm{Attention}(P x) = P\,\mathrm{Attention}(x)", "pixels of a live block, shuffled", 1e-10)
def order_does_not_matter(formula: Formula = AttentionBlock.forward) -> float:
    """Shuffle pixels and apply the block, or apply it and shuffle; ten permutations P of 3x5 pixels."""
    x, errors = numbers(2, 8, 3, 5), []
    for seed in range(10):
        order = torch.randperm(15, generator=torch.Generator().manual_seed(seed))
        block = lively_block(8, n_heads=2)
        errors.append(formula(block, shuffled(x, order)) - shuffled(formula(block, x), order))
    return largest(errors)


# The price

SETTINGS = ((8, 16, 1, None), (4, 8, 2, None), (16, 8, 1, 4), (5, 12, 3, 8))  # side, channels, heads, d_k


@equation("7.7", r"\text{multiply-adds} = 2\,S^4\,h\,d_k + 4\,S^2\,C\,h\,d_k", "torch.utils.flop_counter", 0.0)
def multiply_adds(formula: Formula = attention_macs) -> float:
    """Against what PyTorch counts while a block runs, for several sizes."""
    return largest(
        counted_macs(lively_block(c, h, d_k), numbers(1, c, side, side)) - sum(formula(side, c, h, d_k))
        for side, c, h, d_k in SETTINGS
    )


@equation("7.8", r"\text{bytes of the map} = 4\,h\,S^4", "the largest piece of memory that the profiler sees", 0.0)
def map_memory(formula: Formula = map_bytes) -> float:
    """Against the largest allocation while attention runs in single precision with its map written out."""
    errors = []
    for side, n_heads in ((8, 1), (16, 1), (16, 2), (24, 3)):
        q, k, v = numbers(3, 1, n_heads, side**2, 8).float()
        seen = memory(attention, q, k, v)
        errors.append(seen.largest - formula(side, n_heads))
    return largest(errors)


@equation("7.9", r"\text{parameters} = 4\,C^2 + 6\,C", "the weights of live blocks", 0.0)
def parameters(formula: Formula = attention_parameters) -> float:
    """Against blocks of several widths."""
    blocks = {width: AttentionBlock(width, n_groups=4) for width in (4, 16, 96, 256)}
    return largest(sum(p.numel() for p in block.parameters()) - formula(width) for width, block in blocks.items())
