"""`axonc.check` lists everything that cannot be compiled at once, each with its place."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import axonc

MIXED = """func.func @main(%x: tensor<4xf32> {neuron.name = "p.x"}, %y: tensor<4xf64>)
    -> tensor<4xf32> {
  %0 = "tosa.add"(%x, %x) : (tensor<4xf32>, tensor<4xf32>) -> tensor<4xf32>
  %1 = "loops.for"(%0) ({
    %inner = "loops.inner"() : () -> tensor<i32>
    "loops.yield"() : () -> ()
  }) : (tensor<4xf32>) -> tensor<4xf32>
  "debug.print"(%1) : (tensor<4xf32>) -> ()
  %2 = "ids.next"() : () -> tensor<4xi64>
  %3 = stablehlo.add %2, %2 : tensor<4xi64>
  %4 = stablehlo.convert %3 : (tensor<4xi64>) -> tensor<4xf32>
  %5 = stablehlo.custom_call @Special(%4) {mhlo.backend_config = {a = 1 : i32}}
      : (tensor<4xf32>) -> tensor<4xf32>
  return %5 : tensor<4xf32>
}
"""


def test_parts_of_other_dialects_types_and_calls_are_listed_together() -> None:
    found = {finding.op: finding for finding in axonc.check(MIXED)}
    assert found.keys() == {
        "tosa.add", "loops.for", "debug.print", "ids.next", "argument 'arg1'",
        "stablehlo.custom_call",
    }  # fmt: skip
    assert found["tosa.add"].location.line == 3
    assert found["ids.next"].reason == "not StableHLO"
    assert found["stablehlo.custom_call"].reason == "custom call @Special"


TYPES = {
    "tensor<4xsi32>": "type tensor<4xsi32>",
    "tensor<4xi3>": "type tensor<4xi3>",
    "tensor<4x!other.kind>": "type tensor<4x!other.kind>",
    "memref<4xf32>": "type memref<4xf32> (arguments and results of a program are tensors)",
    "f32": "type f32 (arguments and results",
    "!stablehlo.token": "type !stablehlo.token (arguments",
    "tuple<tensor<4xf32>>": "type tuple<tensor<4xf32>> (arguments",
    "tensor<*xf32>": "type tensor<*xf32> (arguments",
    "tensor<?xf32>": "dynamic type tensor<?xf32> (trace the model with fixed sizes",
    "tensor<4xtf32>": "type tensor<4xtf32>, which no array has (pass float32",
    "tensor<4xindex>": "element type index (use one of",
}


@pytest.mark.parametrize("kind", TYPES)
def test_types_of_arguments_are_refused_by_name(kind: str) -> None:
    text = f'func.func @main(%a: {kind} loc("ids")) -> {kind} {{\n  return %a : {kind}\n}}'
    told = [str(finding) for finding in axonc.check(text)]
    assert told[0].startswith(f"-:1:1: argument 'ids': {TYPES[kind]}")
    with pytest.raises(axonc.UnsupportedOpError, match="argument 'ids'"):
        axonc.compile(text)


def test_all_arguments_of_dynamic_shape_are_listed() -> None:
    kinds = [f"tensor<{i}x?xf32>" for i in range(1, 4)]
    arguments = ", ".join(f"%a{i}: {kind}" for i, kind in enumerate(kinds))
    text = f"func.func @main({arguments}) -> {kinds[0]} {{\n  return %a0 : {kinds[0]}\n}}"
    assert [f.op for f in axonc.check(text)] == [f"argument 'arg{i}'" for i in range(3)]


def test_values_of_types_that_stablehlo_has_not_name_their_lines() -> None:
    text = """func.func @main() -> tensor<4xf32> {
  %0 = "other.make"() : () -> tensor<4xi3>
  %1 = "other.take"(%0) : (tensor<4xi3>) -> tensor<4xf32>
  return %1 : tensor<4xf32>
}"""
    assert [str(finding) for finding in axonc.check(text)] == [
        "-:2:8: other.make: type tensor<4xi3> (use an element type of StableHLO)"
    ]


def test_what_runs_on_the_host_is_listed_with_everything_else() -> None:
    def model(x: jax.Array) -> jax.Array:
        jax.debug.print("{}", x)
        scales = x.astype(jnp.float8_e8m0fnu).astype(jnp.float32)
        return jnp.linalg.cholesky(scales)

    found = axonc.check(jax.jit(model).lower(np.eye(4, dtype=np.float32)))
    reasons = " ".join(finding.reason for finding in found)
    assert "callback" in reasons and "potrf" in reasons
    assert "stablehlo.convert" in {finding.op for finding in found}
    assert all(finding.location.file.endswith("test_check.py") for finding in found)
    assert all(f", from {finding.location.name}: " in str(finding) for finding in found)
