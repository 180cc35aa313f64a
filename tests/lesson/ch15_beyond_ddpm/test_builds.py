"""The build of notebook 15: what goes wrong is told by the stage that asks for it."""

from ddpm_lesson.lesson.ch15_beyond_ddpm.builds import build_flow_sample, flow_sample
from ddpm_lesson.lesson.kit.exercise import edited


def test_steps_from_data_to_noise_are_told_by_their_times():
    message = build_flow_sample(edited(flow_sample, "range(n_steps, 0, -1)", "range(1, n_steps + 1)")).message
    assert "With n_steps = 2 the model was asked at" in message
    assert "[1000.0, 500.0] are its times" in message
