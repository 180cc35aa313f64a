"""The code that a notebook shows is the code that runs."""

import inspect

from ddpm_lesson import DenoiseDiffusion
from ddpm_lesson.lesson.kit.source import source_of
from ddpm_lesson.unet import Swish


def test_source_is_the_methods_own_code():
    shown = source_of(DenoiseDiffusion.q_posterior)
    assert shown.file == "ddpm_lesson/diffusion.py"
    assert shown.code.startswith("def q_posterior(self, x0: Tensor, xt: Tensor, t: Tensor)")
    own = [line.strip() for line in inspect.getsource(DenoiseDiffusion.q_posterior).splitlines()]
    assert all(line.strip() in own for line in shown.code.splitlines())
    assert shown.code.endswith("return mean, var")


def test_source_leaves_the_docstring_out_unless_asked():
    assert '"""' not in source_of(DenoiseDiffusion.q_posterior).code
    assert "Mean and variance of q(x_{t-1} | x_t, x_0)" in source_of(DenoiseDiffusion.q_posterior, docstring=True).code


def test_code_without_the_docstring_still_runs():
    for thing in (DenoiseDiffusion.q_posterior, Swish, source_of):
        compile(source_of(thing).code, "shown", "exec")


def test_source_of_code_without_a_docstring_is_all_of_it():
    def bare(x):
        return x + 1

    assert source_of(bare).code == "def bare(x):\n    return x + 1"


def test_source_renders_as_markdown():
    text = source_of(DenoiseDiffusion.q_sample)._repr_markdown_()
    assert text.startswith("`ddpm_lesson/diffusion.py`\n\n```python\ndef q_sample")
    assert text.endswith("\n```")
