"""The precision ``auto`` is measured, kept and agreed on; and no fast path has other gradients than the plain one."""

from dataclasses import replace
from itertools import islice

import pytest
import torch

from ddpm_lesson import checkpoint, runtime
from ddpm_lesson.data import load_images
from ddpm_lesson.diffusion import DenoiseDiffusion
from ddpm_lesson.run import run
from ddpm_lesson.train import PRESETS, TrainState, loop, processes, seconds_per_image, train
from tests.parity import PATHS, allowed, gradients, largest, network, path_gradients, relative_errors
from tests.tiny import TINY

pytestmark = pytest.mark.usefixtures("one_thread")
CPU = torch.device("cpu")
AUTO = replace(TINY, mixed_precision="auto")


@pytest.fixture
def bf16_takes(monkeypatch):
    """``bf16_takes(2)`` makes a convolution in bf16 take twice as long as in float32."""

    def apply(times: float) -> list[torch.dtype]:
        asked = []

        def seconds(dtype: torch.dtype, *_: object) -> float:
            asked.append(dtype)
            return times if dtype == torch.bfloat16 else 1.0

        runtime.bf16_is_fast.cache_clear()
        monkeypatch.setattr(runtime, "seconds_of_convolution", seconds)
        return asked

    yield apply
    runtime.bf16_is_fast.cache_clear()


# What auto becomes


@pytest.mark.parametrize(("times", "precision"), [(0.4, "bf16"), (0.9, "no"), (7.0, "no")])
def test_auto_is_bf16_where_that_is_much_faster(bf16_takes, times, precision):
    bf16_takes(times)
    assert TrainState(AUTO, (1, 8, 8), "cpu").config == replace(TINY, mixed_precision=precision)


def test_the_machine_is_measured_once(bf16_takes):
    asked = bf16_takes(0.5)
    TrainState(AUTO, (1, 8, 8), "cpu")
    first = len(asked)
    assert set(asked) == {torch.float32, torch.bfloat16}
    TrainState(AUTO, (1, 8, 8), "cpu")
    assert len(asked) == first


def test_the_measurement_takes_a_convolution_forward_and_backward():
    taken = [runtime.seconds_of_convolution(dtype, CPU, 16, 2) for dtype in (torch.float32, torch.bfloat16)]
    assert all(seconds > 0 for seconds in taken)


@pytest.mark.parametrize("precision", ["no", "bf16"])
def test_a_precision_that_is_asked_for_is_not_measured(bf16_takes, precision):
    asked = bf16_takes(0.5)
    assert TrainState(replace(TINY, mixed_precision=precision), (1, 8, 8), "cpu").config.mixed_precision == precision
    assert asked == []


def test_a_run_that_goes_on_keeps_the_arithmetic_it_began_with(bf16_takes, tmp_path, capsys):
    bf16_takes(0.4)
    state = TrainState(AUTO, (1, 8, 8), "cpu")
    dataset = load_images("digits")
    list(islice(train(state, dataset), 4))
    checkpoint.save_training(state, tmp_path)
    assert checkpoint.load_config(tmp_path).mixed_precision == "bf16"
    bf16_takes(7.0)  # another machine
    resumed = run(AUTO, tmp_path, "cpu", resume=True)
    assert resumed.config.mixed_precision == "bf16"
    assert "mixed_precision" not in capsys.readouterr().err
    list(train(state, dataset))
    weights = (s.diffusion.eps_model.parameters() for s in (state, resumed))
    assert all(torch.equal(a, b) for a, b in zip(*weights, strict=True))


def test_processes_agree_on_float32_if_one_of_them_wants_it(bf16_takes, monkeypatch):
    bf16_takes(0.4)
    asked = []
    monkeypatch.setattr(processes, "any_process", lambda flag, device: asked.append(flag) or True)
    assert processes.settled(AUTO, CPU).mixed_precision == "no"
    assert asked == [False]


def test_the_digits_are_trained_in_float32_everywhere_because_notebooks_store_their_numbers():
    assert all((preset.mixed_precision == "no") == (preset.data == "digits") for preset in PRESETS.values())
    assert all(preset.mixed_precision in ("no", "auto") for preset in PRESETS.values())


def test_the_time_of_an_image_is_that_of_the_precision_it_is_trained_in(monkeypatch):
    seen = []
    monkeypatch.setattr(loop, "autocast", lambda *asked: seen.append(asked) or runtime.autocast(*asked))
    assert seconds_per_image(replace(TINY, mixed_precision="bf16"), "cpu", at_least=0.0) > 0
    assert set(seen) == {("bf16", CPU)}


# What a device lacks


def test_a_device_without_bf16_says_so_in_a_sentence(monkeypatch):
    monkeypatch.setattr(runtime, "why_no_bf16", lambda device: "no kernel for BFloat16")
    with pytest.raises(ValueError, match=r"must be auto or no on cpu; got 'bf16', which it lacks \(no k"):
        TrainState(replace(TINY, mixed_precision="bf16"), (1, 8, 8), "cpu")
    runtime.bf16_is_fast.cache_clear()
    assert TrainState(AUTO, (1, 8, 8), "cpu").config.mixed_precision == "no"
    runtime.bf16_is_fast.cache_clear()


def test_fp16_on_a_cpu_is_answered_with_what_is_right():
    with pytest.raises(ValueError, match="mixed_precision must be auto, bf16 or no on cpu; got 'fp16'"):
        TrainState(replace(TINY, mixed_precision="fp16"), (1, 8, 8), "cpu")


class Memory:
    """A network in a memory that holds the activations of so many images."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, holds: int, error: RuntimeError):
        whole = DenoiseDiffusion.loss

        def loss(diffusion, x0, *rest):
            if len(x0) > holds:
                raise error
            return whole(diffusion, x0, *rest)

        monkeypatch.setattr(DenoiseDiffusion, "loss", loss)


ERRORS = [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("DefaultCPUAllocator: can't allocate memory")]


@pytest.mark.parametrize("error", ERRORS, ids=["cuda", "cpu"])
@pytest.mark.parametrize(("parts", "holds", "said"), [(1, 5, "4 do: accumulation_steps 4"), (2, 3, "2 do: accum.* 8")])
def test_a_batch_that_does_not_fit_is_answered_with_one_that_does(monkeypatch, error, parts, holds, said):
    Memory(monkeypatch, holds, error)
    config = replace(TINY, accumulation_steps=parts)
    with pytest.raises(ValueError, match=f"{16 // parts} images at a time do not fit, but {said}"):
        next(train(TrainState(config, (1, 8, 8), "cpu"), load_images("digits")))
    fits = replace(config, accumulation_steps=16 // (holds - 1))
    assert next(train(TrainState(fits, (1, 8, 8), "cpu"), load_images("digits"))).loss.isfinite()


def test_where_not_one_image_fits_that_is_said(monkeypatch):
    Memory(monkeypatch, 0, ERRORS[0])
    with pytest.raises(ValueError, match="16 images at a time do not fit, and neither does 1"):
        next(train(TrainState(TINY, (1, 8, 8), "cpu"), load_images("digits")))


def test_other_errors_stay_what_they_are(monkeypatch):
    Memory(monkeypatch, 0, RuntimeError("shapes do not match"))
    with pytest.raises(RuntimeError, match="shapes do not match"):
        next(train(TrainState(TINY, (1, 8, 8), "cpu"), load_images("digits")))


# Gradient parity


@pytest.fixture(scope="module")
def exact():
    return gradients(network().double(), CPU)


QUICK = [path for path, (_, _, compiled) in PATHS.items() if not compiled]
COMPILED = [pytest.param(path, marks=pytest.mark.slow) for path in PATHS if path not in QUICK]


@pytest.mark.parametrize("path", [*QUICK, *COMPILED])
def test_gradients_of_a_fast_path_are_those_of_float64_up_to_rounding(exact, path):
    errors = relative_errors(path_gradients(path, CPU), exact)
    assert largest(errors.values()) < allowed(PATHS[path][0]), max(errors, key=errors.get)


class Wrong(torch.autograd.Function):
    """Nothing forward; backward what a compiler might do wrong."""

    @staticmethod
    def forward(ctx, x, factor):
        ctx.factor = factor
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        return gradient * ctx.factor, None


@pytest.mark.parametrize("dropout", [0.0, 0.1])
@pytest.mark.parametrize(("factor", "kept"), [(1.0, True), (0.0, False), (float("nan"), False), (3.0, False)])
def test_a_compiled_network_with_wrong_gradients_is_not_trained(monkeypatch, capsys, dropout, factor, kept):
    def compile_wrongly(module):
        norm = module.middle.res1.norm1
        module._compiled_call_impl = module._call_impl
        norm.register_forward_hook(lambda _, __, out: Wrong.apply(out, factor) if module._compiled_call_impl else out)

    monkeypatch.setattr(torch.nn.Module, "compile", compile_wrongly)
    states = [TrainState(replace(TINY, compiled=c, dropout=dropout), (1, 8, 8), "cpu") for c in (False, True)]
    for state in states:
        next(train(state, load_images("digits")))
    assert ("its gradients are wrong" in "".join(capsys.readouterr())) is not kept
    weights = (state.diffusion.eps_model.parameters() for state in states)
    assert all(torch.equal(a, b) for a, b in zip(*weights, strict=True))


@pytest.mark.parametrize("layer", ["down.0.res.norm1", "middle.attn.projection", "up.3.res.conv2"])
def test_a_gradient_that_is_half_lost_is_seen_even_in_bf16(exact, layer):
    found = path_gradients("bf16, channels last", CPU)
    found[f"{layer}.weight"][::2] = 0
    assert largest(relative_errors(found, exact).values()) > allowed("bf16")


def test_an_error_of_channels_last_that_bf16_would_hide_is_seen_in_float32(exact):
    found = path_gradients("float32, channels last", CPU)
    found["down.0.res.norm1.weight"] *= 1 + 1e-4
    assert largest(relative_errors(found, exact).values()) > allowed("no")


def test_training_in_float32_on_a_cpu_lays_its_weights_out_channels_last():
    for precision, is_last in (("no", True), ("bf16", False)):
        state = TrainState(replace(TINY, mixed_precision=precision), (1, 8, 8), "cpu")
        for model in (state.diffusion.eps_model, state.ema.module):
            assert model.down[0].res.conv1.weight.is_contiguous(memory_format=torch.channels_last) is is_last
