"""What cannot be lowered is refused in our words: op, reason, the user's line, what would work."""

from __future__ import annotations

import importlib.util
import inspect

import pytest

from axonc.diagnostics import UnsupportedOpError

torch = pytest.importorskip("torch")
if importlib.util.find_spec("torchax") is None:  # importing it bare fails with this torch
    pytest.skip("torchax is not installed", allow_module_level=True)

from axonc.frontends.torch import torch_frontend  # noqa: E402  (needs torch, which may be missing)


class Model(torch.nn.Module):
    """Calls a function in a line of its own."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


X = torch.eye(4) * 2
REFUSED = {
    "a factorisation": (lambda x: torch.linalg.cholesky(x), "linalg_cholesky_ex", "factorises"),
    "an inverse": (lambda x: torch.linalg.inv(x), "linalg_inv_ex", "factorises"),
    "matrix_exp": (lambda x: torch.matrix_exp(x), "linalg_matrix_exp", "factorises"),
    "unique": (lambda x: torch.unique(x), "_unique2", "known at run time only"),
    "an op of autograd": (
        lambda x: torch.nn.CrossMapLRN2d(3)(x[None, None]),
        "select",
        "core ones",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_by_name(case):
    function, op, reason = REFUSED[case]
    with pytest.raises(UnsupportedOpError, match=reason) as error:
        torch_frontend.import_module(Model(function), (X,))
    assert op in error.value.op
    assert error.value.hint
    assert error.value.location.file == __file__
    assert error.value.location.line >= inspect.getsourcelines(Model)[1]


def test_no_text_of_a_library_is_the_message(monkeypatch):
    from axonc.frontends.torch import torch_interpreter

    def broken(*_):
        raise TypeError("'immutable_list' object is not callable")

    lowerings = {**torch_interpreter.LOWERINGS, torch.ops.aten.sin.default: broken}
    monkeypatch.setattr(torch_interpreter, "LOWERINGS", lowerings)
    with pytest.raises(UnsupportedOpError) as error:
        torch_frontend.import_module(Model(torch.sin), (X,))
    assert "immutable_list" not in str(error.value)
    assert "no lowering to StableHLO for these arguments: float32[4, 4]" in str(error.value)
    assert isinstance(error.value.__cause__, TypeError)


def test_results_that_are_no_tensors_are_left_out(run):
    program = torch_frontend.import_module(Model(lambda x: (x + 1, None, 3, torch.ones(2))), (X,))
    first, second = run(program, {program.inputs[0].name: X.numpy()})
    assert first.shape == (4, 4) and second.tolist() == [1, 1]
    assert program.result_names == ("result0", "result3")
