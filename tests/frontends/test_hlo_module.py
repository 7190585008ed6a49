"""XLA's HLO as protobuf and as text: numbers, names, places, wrappers, and broken files."""

from __future__ import annotations

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import axonc
from axonc.diagnostics import CompileError, UnsupportedOpError
from axonc.frontends import import_program
from axonc.frontends.hlo_module import hlo_module_from_text

X = np.linspace(-3, 3, 12, dtype=np.float32).reshape(3, 4)
W = np.linspace(-1, 1, 8, dtype=np.float32).reshape(4, 2)

# A model as another framework writes it: `dot`, names of parameters, operations without a name in
# StableHLO, source places.
TEXT = """\
// dumped
HloModule example

ENTRY main {
  hidden = f32[3,4] parameter(0)
  weight = f32[4,2] parameter(1)
  kept = f32[3,4] copy(hidden)
  product = f32[3,2] dot(kept, weight), lhs_contracting_dims={1}, rhs_contracting_dims={0}, \
metadata={op_name="dense" source_file="model.py" source_line=42}
  ROOT result = f32[3,2] erf(product)
}
"""
UNARY = ("erf", "tan", "acos", "acosh", "asin", "asinh", "atanh", "cosh", "sinh")


def unary_text(name: str) -> str:
    return f"HloModule m\nENTRY main {{\n  x = f32[5] parameter(0)\n  ROOT y = f32[5] {name}(x)\n}}"


def protobuf(text: str = TEXT) -> bytes:
    """HloModuleProto."""
    return hlo_module_from_text(text).as_serialized_hlo_module_proto()


def wrapped(message: bytes) -> bytes:
    """A message that holds `message` as its field 1."""
    length, prefix = len(message), bytearray([0x0A])
    while length >= 0x80:
        prefix.append(length & 0x7F | 0x80)
        length >>= 7
    return bytes([*prefix, length]) + message


FORMS = {
    "text": lambda: TEXT,
    "text bytes": TEXT.encode,
    "HloModuleProto": protobuf,
    "HloProto": lambda: wrapped(protobuf()),
    "HloSnapshot": lambda: wrapped(wrapped(protobuf())),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_computes_the_same(form, run):
    program = import_program(FORMS[form]())
    assert [str(a) for a in program.arguments] == [
        "hidden: tensor<3x4xf32>",
        "weight: tensor<4x2xf32>",
    ]
    (found,) = run(program, {"hidden": X, "weight": W})
    expected = jax.scipy.special.erf(X.astype(np.float64) @ W.astype(np.float64))
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_a_file_is_known_by_its_content(tmp_path: Path):
    for name, content in (("model.hlo.pb", protobuf()), ("model.mlir", TEXT.encode())):
        (tmp_path / name).write_bytes(content)
        assert len(import_program(tmp_path / name).arguments) == 2


def test_source_places_survive(located):
    assert '"model.py":42' in located(import_program(protobuf()))


def test_erf_is_the_composite_of_other_frontends(census):
    assert census(import_program(protobuf()))["chlo.erf"] == 1


@pytest.mark.parametrize("name", UNARY)
def test_operations_stablehlo_lacks_compute(name, run):
    x = np.linspace(-0.9, 0.9, 5, dtype=np.float32) + (2 if name == "acosh" else 0)
    (found,) = run(import_program(unary_text(name)), {"x": x})
    function = jax.scipy.special.erf if name == "erf" else getattr(jnp, name)
    np.testing.assert_allclose(found, function(x), rtol=2e-6, atol=1e-6)


def test_the_largest_k_become_top_k(census):
    text = """HloModule m
ENTRY main {
  x = f32[3,4] parameter(0)
  ROOT top = (f32[3,2], s32[3,2]) topk(x), k=2, largest=LARGEST
}"""
    assert census(import_program(text.replace("LARGEST", "true")))["chlo.top_k"] == 1
    with pytest.raises(UnsupportedOpError, match=r"mhlo.topk: not StableHLO"):
        axonc.compile(text.replace("LARGEST", "false"))


def test_a_jax_program_keeps_its_argument_names():
    lowered = jax.jit(lambda p, x: x @ p["w"]).lower({"w": W}, X)
    proto = lowered.compiler_ir("hlo").as_serialized_hlo_module_proto()
    assert [a.name for a in import_program(proto).arguments] == ["p.w", "x"]


def test_optimised_hlo_is_refused_by_name():
    text = """HloModule m
inner { a = f32[4] parameter(0) ROOT b = f32[4] negate(a) }
ENTRY main { x = f32[4] parameter(0) ROOT y = f32[4] fusion(x), kind=kLoop, calls=inner }
"""
    with pytest.raises(UnsupportedOpError, match=r"mhlo.fusion: not StableHLO"):
        axonc.compile(text)


def test_text_that_does_not_parse_names_line_and_column(tmp_path: Path):
    path = tmp_path / "m.hlo"
    path.write_text(TEXT.replace("dot(kept", "dot(lost"))
    with pytest.raises(CompileError) as error:
        import_program(path)
    assert error.value.render().startswith(f"{path}:8:")
    assert "cannot read the HLO text: cannot parse as an instruction name" in str(error.value)


def silu(x):
    return x / (1 + np.exp(-x))


NEURON_CALLS = {
    "AwsNeuronErf": jax.scipy.special.erf,
    "AwsNeuronGelu": lambda x: jax.nn.gelu(x, approximate=False),
    "AwsNeuronGeluApprxTanh": lambda x: jax.nn.gelu(x, approximate=True),
    "AwsNeuronSilu": silu,
}


def call_text(target: str, kind: str) -> str:
    return f"""HloModule m
ENTRY main {{
  x = {kind}[12] parameter(0)
  ROOT y = {kind}[12] custom-call(x), custom_call_target="{target}"
}}"""


@pytest.mark.parametrize("target", NEURON_CALLS)
def test_custom_calls_of_neuron_programs_compute(target, run):
    x = X.reshape(12)
    (found,) = run(import_program(call_text(target, "f32")), {"x": x})
    np.testing.assert_allclose(found, NEURON_CALLS[target](x), rtol=2e-6, atol=1e-6)
    bf16 = import_program(protobuf(call_text(target, "bf16")))
    assert str(bf16.arguments[0]) == "x: tensor<12xbf16>"


def test_other_custom_calls_are_refused_by_name():
    import axonc

    (found,) = axonc.check(call_text("AwsNeuronTopK", "f32"))
    assert "AwsNeuronTopK" in str(found)


BROKEN = {
    "empty": b"",
    "zeros": bytes(64),
    "archive": b"PK\x03\x04" + bytes(60),
    "half": protobuf()[: len(protobuf()) // 2],
    "wrapped half": wrapped(protobuf())[:-9],
    "wrapped nothing": wrapped(b""),
    "endless length": bytes([0x0A]) + b"\xff" * 40,
    "wrapped thrice": wrapped(wrapped(wrapped(protobuf()))),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_broken_protobufs_are_refused(kind):
    with pytest.raises(CompileError, match="neither MLIR nor a HLO module protobuf") as error:
        import_program(BROKEN[kind])
    assert "HloModuleProto" in error.value.render()
