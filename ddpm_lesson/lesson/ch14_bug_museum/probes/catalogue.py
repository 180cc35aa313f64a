"""All probes by name, and what they find."""

from collections.abc import Iterable

import torch

from ddpm_lesson.doctor import Finding
from ddpm_lesson.lesson.ch14_bug_museum.probes import guidance, ranges, samplers, schedules, states, times, traces
from ddpm_lesson.lesson.ch14_bug_museum.probes.subjects import Probe, stopped

PROBES: dict[str, Probe] = {
    "range of the data": ranges.range_of_data,
    "way back to bytes": ranges.way_back,
    "range of the estimate": ranges.range_of_estimate,
    "schedule table": schedules.schedule_table,
    "end of the chain": schedules.end_of_chain,
    "forward process": schedules.forward_process,
    "times of the sampler": times.times_of_sampler,
    "what the network is told": times.what_the_network_is_told,
    "embedding": times.embedding,
    "vary t": times.vary_t,
    "posterior": samplers.posterior,
    "one step of DDPM": samplers.ddpm_step,
    "last step": samplers.last_step,
    "DDIM against its formula": samplers.ddim_formula,
    "DDPM samples": samplers.known_law(None, "DDPM", 0.06),
    "DDIM samples": samplers.known_law(20, "DDIM", 0.04),
    "loss of a perfect guess": samplers.perfect_guess,
    "gradient trace": traces.gradient_trace,
    "pixels keep their places": traces.pixels_keep_places,
    "images keep apart": traces.images_keep_apart,
    "flat stays flat": traces.flat_stays_flat,
    "size of the network": traces.size_of_network,
    "asked twice": traces.asked_twice,
    "guided noise": guidance.guided_noise,
    "guidance sweep": guidance.guidance_sweep,
    "labels in training": guidance.labels_in_training,
    "vary the label": guidance.vary_label,
    "memory of the average": states.memory_of_average,
    "which weights are sampled": states.sampled_weights,
    "resumption": states.resumption,
    "bits": states.bits,
    "shipped weights": states.shipped_weights,
}


def look(name: str, seed: int = 0) -> Finding:
    """What a probe finds; an error is a finding too. ValueError if there is no such probe."""
    if name not in PROBES:
        raise ValueError(f"name must be that of a probe: {', '.join(PROBES)}; got {name!r}")
    try:
        return PROBES[name](seed)
    except Exception as error:  # whatever a bug leads to
        return Finding(False, stopped(error))


def findings(names: Iterable[str] = PROBES, seed: int = 0) -> dict[str, Finding]:
    """What several probes find, by name."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return {name: look(name, seed) for name in names}
