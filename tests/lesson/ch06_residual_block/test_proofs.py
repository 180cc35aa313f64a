"""The proofs of notebook 06 fail when a wrong formula stands in the place of the right one."""

import math

import pytest
import sympy
import torch

from ddpm_lesson.lesson.ch06_residual_block.experiments import group_norm, surviving_shift
from ddpm_lesson.lesson.ch06_residual_block.proofs import (
    normalised_after_shift,
    prove,
    sigmoid,
    swish,
    swish_minimum,
)


def over(x, n_groups, unbiased=False):
    groups = x.reshape(len(x), n_groups, -1)
    return groups, groups.mean(2, keepdim=True), groups.var(2, keepdim=True, unbiased=unbiased)


def unbiased(x, n_groups, eps):
    groups, mean, var = over(x, n_groups, unbiased=True)
    return ((groups - mean) / (var + eps).sqrt()).reshape(x.shape)


def eps_outside(x, n_groups, eps):
    groups, mean, var = over(x, n_groups)
    return ((groups - mean) / (var.sqrt() + eps)).reshape(x.shape)


def batch_norm(x, n_groups, eps):
    return torch.nn.functional.batch_norm(x, None, None, training=True, eps=eps)


def shift_not_centred(h, shift, n_groups, eps):
    groups, mean, var = over(h, n_groups)
    return ((groups - mean) / (var + eps).sqrt()).reshape(h.shape) + shift[:, :, None, None]


def variance_not_changed(h, shift, n_groups, eps):
    groups, mean, var = over(h, n_groups)
    kept = surviving_shift(shift, n_groups)[:, :, None, None].expand_as(h).reshape(groups.shape)
    return ((groups - mean + kept) / (var + eps).sqrt()).reshape(h.shape)


def no_covariance(h, shift, n_groups, eps):
    groups, mean, var = over(h, n_groups)
    kept = surviving_shift(shift, n_groups)[:, :, None, None].expand_as(h).reshape(groups.shape)
    return ((groups - mean + kept) / (var + (kept**2).mean(2, keepdim=True) + eps).sqrt()).reshape(h.shape)


PLANTED = [
    ("6.1", {"formula": unbiased}),
    ("6.1", {"formula": eps_outside}),
    ("6.1", {"formula": batch_norm}),
    ("6.1", {"formula": lambda x, g, eps: group_norm(x, 1, eps)}),
    ("6.2", {"formula": lambda delta, a: delta}),
    ("6.2", {"formula": lambda delta, a: delta / a}),
    ("6.2", {"formula": lambda delta, a: delta * a**2}),
    ("6.3", {"formula": lambda x: x.relu()}),
    ("6.3", {"formula": lambda x: x * x.tanh()}),
    ("6.3", {"slope": lambda x: sigmoid(x) * (1 - sigmoid(x))}),
    ("6.3", {"slope": lambda x: sigmoid(x) + x * (1 - sigmoid(x))}),
    ("6.4", {"formula": lambda: (-1.0, -1 / (1 + math.e))}),
    ("6.4", {"formula": lambda: (-1.2785, -0.2785)}),
    ("6.5", {"formula": shift_not_centred}),
    ("6.5", {"formula": variance_not_changed}),
    ("6.5", {"formula": no_covariance}),
    ("6.5", {"formula": lambda h, s, g, eps: normalised_after_shift(h, s, 1, eps)}),
    ("6.6", {"formula": lambda C, G: C}),
    ("6.6", {"formula": lambda C, G: C - 1}),
    ("6.6", {"formula": lambda C, G: G}),
    ("6.7", {"formula": lambda S, J: J}),
    ("6.7", {"formula": lambda S, J: S}),
    ("6.7", {"formula": lambda S, J: S.T + J if S.shape[0] == S.shape[1] else S + J}),
    ("6.7", {"formula": lambda S, J: S @ J.T @ S if S.shape[0] == S.shape[1] else S}),
    ("6.8", {"formula": lambda i, o, t: 9 * i * o + o + (t + 1) * o + 9 * o**2 + o}),
    ("6.8", {"formula": lambda i, o, t: 2 * i + 9 * i * o + (t + 1) * o + 4 * o + 9 * o**2 + (i + 1) * o}),
]


@pytest.mark.parametrize(("number", "formula"), PLANTED)
def test_wrong_formula_is_caught(number, formula):
    assert not prove(number, **formula).holds


def test_swish_is_lowest_where_sympy_says():
    x = sympy.Symbol("x", real=True)
    where, value = swish_minimum()
    assert where == pytest.approx(float(sympy.nsolve(sympy.diff(swish(x), x), -1.2)), abs=1e-12)
    assert value == pytest.approx(1 + where, abs=1e-12)
    assert (round(where, 3), round(value, 3)) == (-1.278, -0.278)
