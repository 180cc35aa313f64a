"""Probes: do the tables follow from beta?"""

import torch

from ddpm_lesson import schedule
from ddpm_lesson.doctor import Finding
from ddpm_lesson.lesson.ch14_bug_museum.probes.subjects import short


def schedule_table(seed: int = 0) -> Finding:
    """Do the tables follow from beta?"""
    table = schedule.NoiseSchedule.linear()
    beta = table.beta.double()
    alpha_bar = (1 - beta).cumprod(0)
    before = torch.cat((torch.ones(1).double(), alpha_bar[:-1]))
    for name, right in {"alpha_bar": alpha_bar, "alpha_bar_prev": before, "one_minus_alpha_bar": 1 - alpha_bar}.items():
        off = (getattr(table, name) - right).abs() > 1e-5 * right + 1e-6
        if off.any():
            t = int(off.nonzero()[0])
            return Finding(False, f"{name}[{t}] is {getattr(table, name)[t]:.6g}, and {right[t]:.6g} follows from beta")
    return Finding(True, "alpha_bar and the tables beside it follow from beta")


def end_of_chain(seed: int = 0) -> Finding:
    """What signal is left at the last step?"""
    last = float(schedule.NoiseSchedule.linear().alpha_bar[-1])
    return Finding(1e-12 < last < 1e-3, f"alpha_bar at the last step is {last:.2g}")


def forward_process(seed: int = 0) -> Finding:
    """Do the squares of what multiplies signal and noise add up to 1?"""
    d, t = short(), torch.arange(20)
    one, nothing = torch.ones(20, 1), torch.zeros(20, 1)
    total = d.q_sample(one, t, nothing) ** 2 + d.q_sample(nothing, t, one) ** 2
    return Finding(
        (total - 1).abs().max() < 1e-5, f"x_t of unit data has variance {total.min():.3f} .. {total.max():.3f}"
    )
