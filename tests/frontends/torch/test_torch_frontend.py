"""PyTorch programs against PyTorch: numbers, composites, names, weights by reference, refusals."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

import axonc
from axonc.diagnostics import UnsupportedOpError, UsageError
from axonc.frontends import import_program
from axonc.weights.references import open_weight_file

torch = pytest.importorskip("torch")
if importlib.util.find_spec("torchax") is None:  # importing it bare fails with this torch
    pytest.skip("torchax is not installed", allow_module_level=True)

from axonc.frontends.torch import torch_frontend  # noqa: E402  (needs torch, which may be missing)

F = torch.nn.functional


class Call(torch.nn.Module):
    """A function as a module."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, *inputs):
        return self.function(*inputs)


def _random(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def _check(model, inputs, run, *, atol: float = 2e-6):
    program = torch_frontend.import_module(model, inputs)
    values = {a.name: t.numpy() for a, t in zip(program.inputs, inputs, strict=True)}
    with torch.no_grad():
        expected = model.eval()(*inputs)
    expected = expected if isinstance(expected, tuple) else (expected,)
    for found, wanted in zip(run(program, values), expected, strict=True):
        assert found.dtype == wanted.numpy().dtype
        np.testing.assert_allclose(found, wanted.numpy(), rtol=1e-5, atol=atol)
    return program


X = _random(2, 3, 8)
SQUARE = (_random(2, 4, 6, 8), _random(2, 4, 6, 8) * 0.5, _random(2, 4, 6, 8) + 1)
GROUPED = (SQUARE[0], _random(2, 2, 6, 8), _random(2, 2, 6, 8))
ROW_HIDDEN = torch.ones(6, 6, dtype=torch.bool).index_fill(0, torch.tensor(2), False)
MASK = torch.tensor([[True, True, True, False, True, False]]).expand(6, 6)

COMPOSITES = {
    "gelu": (lambda x: F.gelu(x), (X,), "axonc.gelu"),
    "gelu tanh": (lambda x: F.gelu(x, approximate="tanh"), (X,), "axonc.gelu"),
    "softmax": (lambda x: F.softmax(x, -1), (X,), "axonc.softmax"),
    "softmax middle axis": (lambda x: F.softmax(x, 1), (X,), "axonc.softmax"),
    "layer norm": (
        lambda x, g, b: F.layer_norm(x, (8,), g, b),
        (X, X[0, 0], X[0, 1]),
        "axonc.layer_norm",
    ),
    "layer norm bare": (lambda x: F.layer_norm(x, (8,), eps=0.1), (X,), "axonc.layer_norm"),
    "layer norm two axes": (lambda x, g: F.layer_norm(x, (3, 8), g), (X, X[0]), "axonc.layer_norm"),
    "rms norm": (lambda x, g: F.rms_norm(x, (8,), g, 1e-3), (X, X[0, 0]), "axonc.rms_norm"),
    "rms norm bare": (lambda x: F.rms_norm(x, (8,)), (X,), "axonc.rms_norm"),
    "attention": (F.scaled_dot_product_attention, SQUARE, "axonc.softmax"),
    "attention mask": (
        lambda q, k, v: F.scaled_dot_product_attention(q, k, v, MASK),
        SQUARE,
        "axonc.softmax",
    ),
    "attention bias": (
        lambda q, k, v, m: F.scaled_dot_product_attention(q, k, v, m, scale=0.3),
        (*SQUARE, _random(6, 6)),
        "axonc.softmax",
    ),
    "attention causal": (
        lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True),
        SQUARE,
        "axonc.softmax",
    ),
    "attention row that sees nothing": (
        lambda q, k, v: F.scaled_dot_product_attention(q, k, v, ROW_HIDDEN),
        SQUARE,
        "axonc.softmax",
    ),
    "attention bias that hides a row": (
        lambda q, k, v, m: F.scaled_dot_product_attention(q, k, v, m),
        (*SQUARE, torch.zeros(6, 6).masked_fill(~ROW_HIDDEN, -torch.inf)),
        "axonc.softmax",
    ),
    "safe softmax": (
        lambda x: torch.ops.aten._safe_softmax.default(x, -1),
        (torch.zeros(6, 6).masked_fill(~ROW_HIDDEN, -torch.inf),),
        "axonc.softmax",
    ),
    "layer norm f64": (lambda x: F.layer_norm(x, (8,)), (X.double(),), "axonc.layer_norm"),
    "attention grouped": (
        lambda q, k, v: F.scaled_dot_product_attention(q, k, v, enable_gqa=True),
        GROUPED,
        "axonc.softmax",
    ),
}


@pytest.mark.parametrize("case", COMPOSITES)
def test_composites_survive_and_compute(case, run, census):
    function, inputs, name = COMPOSITES[case]
    program = _check(Call(function), inputs, run)
    assert census(program)[name] == 1


def test_rms_norm_of_bf16_uses_the_epsilon_of_float32(run):
    small = Call(lambda x: F.rms_norm(x.bfloat16(), (8,)).float())  # bf16's epsilon hides 1e-4
    program = torch_frontend.import_module(small, (X * 1e-2,))
    (found,) = run(program, {program.inputs[0].name: (X * 1e-2).numpy()})
    np.testing.assert_allclose(found, small(X * 1e-2).numpy(), rtol=2**-7)


PLAIN = {
    "linear": (lambda x, w, b: F.linear(x, w, b), (X, _random(5, 8), _random(5))),
    "matmul matrix": (torch.matmul, (X, _random(8, 5))),
    "matmul batch": (torch.matmul, (X, _random(2, 8, 5))),
    "matmul broadcast": (torch.matmul, (X, _random(7, 1, 8, 5))),
    "matmul vector": (torch.matmul, (X, _random(8))),
    "addmm": (lambda b, x, y: torch.addmm(b, x, y, beta=0.5, alpha=2), (X[0], X[0, :, :3], X[0])),
    "add alpha": (lambda x, y: torch.add(x, y, alpha=3), (X, X[0])),
    "subtract alpha": (lambda x, y: torch.sub(x, y, alpha=0.5), (X, X[0])),
    "embedding": (lambda w, i: F.embedding(i, w), (X[0], torch.tensor([[2, 0], [1, 1]]))),
    "index": (lambda x, i: x[i], (X[0], torch.tensor([2, -1]))),
    "known positions": (lambda w: F.embedding(torch.arange(1, 3)[None], w), (X[0],)),
    "known uneven rows": (lambda x: x[torch.tensor([0, 2, 2])], (X[0],)),
    "known mask": (lambda x: x.masked_fill(torch.ones(8, 8).triu(1).bool()[:3], -1.0), (X,)),
    "integers": (lambda i: (i * 3 // 2, i.float().mean()), (torch.tensor([-3, 4, 2**40]),)),
    "two axes of known ranges": (
        lambda x: x[torch.arange(2)[:, None], torch.arange(3)[None, :]],
        (X,),
    ),
}


@pytest.mark.parametrize("case", PLAIN)
def test_plain_ops_compute(case, run):
    function, inputs = PLAIN[case]
    _check(Call(function), inputs, run)


def test_known_index_ranges_become_slices(census):
    function, inputs = PLAIN["known positions"]
    counts = census(torch_frontend.import_module(Call(function), inputs))
    assert counts["stablehlo.slice"] == 1 and counts["stablehlo.gather"] == 0


def test_scaling_by_one_is_not_written(census):
    program = torch_frontend.import_module(Call(lambda x, y: x + y), (X, X))
    assert census(program)["stablehlo.multiply"] == 0


def test_import_leaves_torch_without_a_jax_accelerator():
    torch_frontend.import_module(torch.nn.Linear(8, 4), (X,))
    assert torch.accelerator.current_accelerator() is None
    torch.export.export(Cond(), (X,))  # fails in a process where torchax registered itself


class Cond(torch.nn.Module):
    def forward(self, x):
        return torch.cond(x.sum() > 0, lambda v: v.sin(), lambda v: v.cos(), (x,))


class Loop(torch.nn.Module):
    def forward(self, x):
        from torch._higher_order_ops.while_loop import while_loop

        return while_loop(lambda i, v: i < 3, lambda i, v: (i + 1, v * 2 + 1), (torch.tensor(0), x))


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_cond(sign, run):
    _check(Cond(), (torch.full((2, 2), sign),), run)


def test_while_loop(run):
    _check(Loop(), (X,), run)


class Small(torch.nn.Module):
    """A parameter used, one unused, a structural buffer, batch-norm state, a bf16 table."""

    def __init__(self):
        super().__init__()
        self.dense = torch.nn.Linear(8, 4)
        self.unused = torch.nn.Linear(8, 8)
        self.norm = torch.nn.BatchNorm1d(3)
        self.register_buffer("scale", torch.linspace(1, 2, 4), persistent=False)
        self.table = torch.nn.Parameter(_random(5, 4).to(torch.bfloat16))

    def forward(self, x, rows):
        y = self.norm(self.dense(x)) * self.scale
        return {"y": y, "rows": self.table[rows].float()}


ROWS = torch.tensor([4, 0])


def test_weights_are_torch_memory_under_torch_names(run):
    model = Small().eval()
    program = torch_frontend.import_module(model, (X, ROWS))
    assert [a.name for a in program.inputs] == ["x", "rows"]
    assert program.inputs[1].dtype == "i64"
    assert program.result_names == ("y", "rows")
    used = {
        "dense.weight",
        "dense.bias",
        "table",
        "norm.weight",
        "norm.bias",
        "norm.running_mean",
        "norm.running_var",
    }
    assert set(program.weights) == used
    held = program.weights["dense.weight"].load()
    assert np.shares_memory(held, model.dense.weight.detach().numpy())
    assert program.weights["table"].dtype == "bf16"
    y, rows = run(program, {"x": X.numpy(), "rows": ROWS.numpy()})
    expected = model(X, ROWS)
    np.testing.assert_allclose(y, expected["y"].detach().numpy(), atol=1e-6)
    np.testing.assert_array_equal(rows, expected["rows"].detach().numpy())


def test_weights_from_a_file(tmp_path: Path):
    model = Small().eval()
    path = tmp_path / "w.safetensors"
    state = {n: t for n, t in model.state_dict().items() if n != "table"}
    arrays = {n: t.numpy() for n, t in state.items()}
    save_file(arrays, path)
    with pytest.raises(UsageError, match="w.safetensors has no weight 'table'"):
        torch_frontend.import_module(model, (X, ROWS), weights_file=path)
    bits = model.table.detach().view(torch.int16).numpy().view("uint16")
    import ml_dtypes

    save_file({**arrays, "table": bits.view(ml_dtypes.bfloat16)}, path)
    program = torch_frontend.import_module(model, (X, ROWS), weights_file=path)
    assert all(str(path) in ref.describe() for ref in program.weights.values())


def test_weights_on_the_meta_device_compile_but_do_not_run(tmp_path):
    with torch.device("meta"):
        model = torch.nn.Linear(8, 4, dtype=torch.bfloat16)
    inputs = torch.zeros(2, 8, dtype=torch.bfloat16, device="meta")
    program = torch_frontend.import_module(model, (inputs,))
    assert program.weights["weight"].dtype == "bf16"
    executable = axonc.compile(program)
    executable.save(tmp_path / "model.axon")
    again = axonc.load(tmp_path / "model.axon")
    assert again.modelled_seconds == executable.modelled_seconds > 0
    with pytest.raises(UsageError, match="weight '(bias|weight)' has no data"):
        again.run(again.random_inputs())
    with pytest.raises(UsageError, match="has no data"):
        executable.save(tmp_path / "whole.axon", embed_weights=True)


def test_import_leaves_the_model_in_its_mode():
    model = torch.nn.Linear(8, 4).train()
    torch_frontend.import_module(model, (X,))
    assert model.training


def test_locations_name_module_and_line(located):
    program = torch_frontend.import_module(Small().eval(), (X, ROWS))
    text = located(program)
    assert 'loc("dense/linear"' in text
    assert 'test_torch_frontend.py":' in text
    assert "torchax" not in text and "torch_interpreter" not in text


def test_import_is_deterministic():
    first, second = (
        torch_frontend.import_module(Small().eval(), (X, ROWS)).module_bytes for _ in range(2)
    )
    assert first == second


def test_state_changed_in_place_is_an_input_and_a_result():
    class Counter(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("count", torch.zeros(2))

        def forward(self, x):
            self.count += 1
            return x + self.count

    program = torch_frontend.import_module(Counter(), (torch.ones(2),))
    assert [a.name for a in program.inputs] == ["count", "x"]
    assert program.result_names == ("result", "updated.count")
    assert program.aliases == {"count": "updated.count"}


def test_dynamic_shape_is_refused():
    batch = torch.export.Dim("batch", min=2, max=8)
    program = torch.export.export(torch.nn.Linear(8, 4), (X,), dynamic_shapes=({0: batch},))
    with pytest.raises(UnsupportedOpError, match="input 'input' has the dynamic shape"):
        import_program(program)


def test_op_without_lowering_names_the_op_and_the_line():
    @torch.library.custom_op("axonc_test::twice", mutates_args=())
    def twice(x: torch.Tensor) -> torch.Tensor:
        return x * 2

    twice.register_fake(torch.empty_like)
    with pytest.raises(UnsupportedOpError) as error:
        torch_frontend.import_module(Call(lambda x: twice(x)), (X,))
    assert "test_torch_frontend.py:" in str(error.value)
    assert "axonc_test.twice.default: no lowering to StableHLO" in str(error.value)


def test_module_object_says_to_export_first():
    with pytest.raises(UsageError, match=r"export it first: torch.export.export"):
        import_program(torch.nn.Linear(2, 2))


def test_without_torch_the_error_says_what_to_install():
    code = """
import sys
sys.modules["torch"] = None
from axonc.frontends.torch import torchax_import
try:
    torchax_import.load_torchax()
except Exception as error:
    print(type(error).__name__, error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "UsageError" in done.stdout and "pip install 'axonc[torch]'" in done.stdout


def test_bert_on_disk_can_be_imported_without_torch(tmp_path: Path, run, monkeypatch):
    pytest.importorskip("transformers")
    from axonc.tools.models import bert_large

    small = {"hidden_size": 64, "num_attention_heads": 4, "intermediate_size": 128}
    monkeypatch.setattr(bert_large, "SIZES", small)
    program = bert_large.imported(2, tokens=16)
    artifact, weights = bert_large.write(program, tmp_path, "bert")
    again = import_program(artifact, weights=open_weight_file(weights))
    assert [str(a) for a in again.arguments] == [str(a) for a in program.arguments]
    assert [a.name for a in again.inputs] == ["input_ids", "attention_mask"]
    ids = np.arange(16, dtype=np.int64)[None] * 7
    mask = (np.arange(16)[None] < 11).astype(np.int64)
    (found,) = run(again, {"input_ids": ids, "attention_mask": mask})
    oracle = bert_large.model(2).double()
    with torch.no_grad():
        expected = oracle(input_ids=torch.from_numpy(ids), attention_mask=torch.from_numpy(mask))
    np.testing.assert_allclose(found, expected.last_hidden_state.numpy(), rtol=0, atol=1e-5)
