"""Models whose equal layers are compiled once give what the framework gives."""

import pytest

from axonc.backends.encoding import decode_stream, disassemble
from axonc.driver.driver import compile_imported
from axonc.options import CompileOptions
from axonc.run.executable import Executable

pytest.importorskip("torch", reason="the models are PyTorch's")

from axonc.tools.models.registry import build  # noqa: E402

MODELS = ("bert-large", "albert-base", "gpt2-prefill", "gpt2-decode", "llama-prefill")


@pytest.mark.parametrize("name", MODELS)
def test_repeated_layers_compute_the_same(name):
    model = build(name, layers=3, small=True, seed=1)
    compiled = compile_imported(model.imported(), CompileOptions())
    assert any("branch" in text for text in disassembled(compiled)), "nothing was repeated"
    executable, arrays = Executable(compiled), model.arrays()
    inputs = {tensor.name: arrays[tensor.name] for tensor in executable.inputs}
    for checked in (True, False):
        results = executable.run(inputs, checked=checked)
        for found, wanted in zip(results, model.expected(double=True), strict=True):
            assert abs(found - wanted).max() <= 1e-5 * abs(wanted).max()


def disassembled(compiled) -> list[str]:
    streams = compiled.program.streams.values()
    return [disassemble(decode_stream(data)) for data in streams]
