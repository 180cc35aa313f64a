"""Costs are measured as they are: memory piece by piece, time in turns."""

import os

import pytest
import torch

from ddpm_lesson.lesson.ch07_attention_block.cost import memory, quiet, seconds
from ddpm_lesson.lesson.ch07_attention_block.experiments import attention

MIB = 2**20


def test_a_tensor_counts_with_all_its_bytes():
    seen = memory(torch.zeros, 256, 1024)
    assert seen.peak == seen.largest == MIB


def test_what_is_held_at_one_time_adds_up_and_what_is_freed_does_not():
    together = memory(lambda: [torch.zeros(256, 1024) for _ in range(3)])
    one_by_one = memory(lambda: [torch.zeros(256, 1024).sum() for _ in range(3)])
    assert together.peak == 3 * MIB
    assert MIB <= one_by_one.peak < 1.01 * MIB


def test_memory_that_an_operation_uses_only_inside_counts_too():
    q, k, v = torch.randn(3, 1, 1, 1024, 8)
    seen = memory(attention, q, k, v)
    assert seen.largest == 4 * MIB  # the map of 1024 x 1024
    assert seen.peak >= 8 * MIB  # scores and weights


def test_pytorchs_own_attention_never_holds_the_map():
    q, k, v = torch.randn(3, 1, 1, 1024, 8)
    own = memory(torch.nn.functional.scaled_dot_product_attention, q, k, v)
    assert own.peak < memory(attention, q, k, v).peak / 4


def test_nothing_done_costs_nothing():
    assert memory(lambda: None) == (0, 0)


def test_profiler_leaves_no_words_behind(capfd):
    memory(torch.zeros, 10)
    with quiet():
        os.write(2, b"unheard")
    os.write(2, b"heard")
    assert capfd.readouterr().err == "heard"


def test_functions_take_turns():
    calls = []
    times = seconds({"a": lambda x: calls.append(("a", x)), "b": lambda x: calls.append(("b", x))}, 7, repeats=3)
    assert calls == [("a", 7), ("b", 7)] * 4  # once to warm up
    assert set(times) == {"a", "b"}
    assert all(time > 0 for time in times.values())


def test_more_work_takes_longer():
    few, many = torch.randn(2, 2), torch.randn(700, 700)
    times = seconds({"few": lambda: few @ few, "many": lambda: many @ many})
    assert times["many"] > times["few"]


def test_repeats_below_one_are_refused():
    with pytest.raises(ValueError, match="repeats must be at least 1; got 0"):
        seconds({}, repeats=0)
