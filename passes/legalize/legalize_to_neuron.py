"""Replace every StableHLO operation of `@main`, and of what it calls, by neuron operations.

Why: from here on the compiler knows some sixty operations, each with a reference evaluator,
instead of StableHLO's hundred with their attributes.

Precondition: no calls but by `neuron.repeat` (`inline-calls`), no 64-bit integers
(`narrow-integers`).
Postcondition: `@main` holds neuron operations and a return, as do the functions that
`neuron.repeat` calls; no other function is left.

Before:
    %0 = stablehlo.broadcast_in_dim %b, dims = [1] : (tensor<8xf32>) -> tensor<4x8xf32>
    %1 = stablehlo.add %x, %0 : tensor<4x8xf32>
After:
    %0 = "neuron.broadcast"(%b) {dims = [1]} : (tensor<8xf32>) -> tensor<4x8xf32>
    %1 = "neuron.add"(%x, %0) : (tensor<4x8xf32>, tensor<4x8xf32>) -> tensor<4x8xf32>

Constants are folded on the way (fold_constants.py). What has no neuron form is collected and
reported in one UnsupportedOpError; `find_unsupported` returns the list without raising.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch_mlir import ir

from axonc.diagnostics import Finding, unsupported_error
from axonc.dialects.locations import source_location
from axonc.dialects.neuron.argument_names import NAME
from axonc.dialects.neuron.ops import is_neuron
from axonc.dialects.neuron.repeat import called_functions
from axonc.dialects.neuron.rules import MOST_SORTED
from axonc.dialects.neuron.table import ANY
from axonc.passes.base import Pass
from axonc.passes.graph.custom_calls import ANY_FORM, called, custom_call_problem
from axonc.passes.graph.fold_constants import fold
from axonc.passes.graph.loop_counts import CONTROL_FLOW
from axonc.passes.graph.module import main_function
from axonc.passes.graph.rewrite import in_place_of
from axonc.passes.legalize.bitcast import bitcast_convert
from axonc.passes.legalize.collectives import COLLECTIVE_LEGALIZERS
from axonc.passes.legalize.dynamic import DYNAMIC_LEGALIZERS
from axonc.passes.legalize.elementwise import COMPOSITES, ELEMENTWISE_LEGALIZERS
from axonc.passes.legalize.gather import gather
from axonc.passes.legalize.movement import MOVEMENT_LEGALIZERS, reduce
from axonc.passes.legalize.scatter import MOST_WINDOWS, scatter
from axonc.passes.legalize.sort import sort
from axonc.passes.legalize.wide_constants import narrow_wide_constants
from axonc.passes.legalize.window import WINDOW_LEGALIZERS
from axonc.passes.unsupported import Unsupported

_LEGALIZERS = (
    ELEMENTWISE_LEGALIZERS
    | MOVEMENT_LEGALIZERS
    | DYNAMIC_LEGALIZERS
    | WINDOW_LEGALIZERS
    | COLLECTIVE_LEGALIZERS
    | {
        "bitcast_convert": bitcast_convert,
        "gather": gather,
        "scatter": scatter,
        "sort": sort,
        "reduce": reduce,
    }
)
LEGALIZERS = {f"stablehlo.{name}": rule for name, rule in sorted(_LEGALIZERS.items())}
"""What makes neuron operations of each StableHLO operation."""

_EXPANDED = {
    "stablehlo.complex": "complex<f32>",
    "stablehlo.fft": "of float32",
    "stablehlo.imag": "complex<f32>",
    "stablehlo.map": "by elementwise operations",
    "stablehlo.real": "complex<f32>",
    "stablehlo.rng": "Threefry, with a key for every call",
    "stablehlo.rng_bit_generator": "",
    "stablehlo.select_and_scatter": "by elementwise operations",
}
"""What passes before have replaced, with restrictions."""

_NEAREST_FORMS = {
    "stablehlo.cholesky": "compute it on the host",
    "stablehlo.imag": "compute with float32",
    "stablehlo.real": "compute with float32",
    "stablehlo.triangular_solve": "compute it on the host",
}


_NEAREST_TYPES = {
    "f64": "compute in float32",
    "complex<f64>": "compute in complex<f32>",
}


def supported_operations() -> list[tuple[str, str]]:
    """(StableHLO operation or composite, restriction) of everything legalisation takes."""
    notes = {
        "stablehlo.gather": "fast for rows and for one window",
        "stablehlo.scatter": f"set, add, min, max; by others {MOST_WINDOWS} windows",
        "stablehlo.convolution": "integers only where float32 is exact",
        "stablehlo.compare": "the total order takes NaN as positive",
        "stablehlo.sort": f"at most {MOST_SORTED} elements in a row",
        "stablehlo.all_reduce": "one tensor; groups of one size; integers by gathering",
        "stablehlo.reduce_scatter": "one tensor; groups of one size; integers by exchanging",
        "stablehlo.all_gather": "one tensor; groups of one size",
        "stablehlo.all_to_all": "one tensor; groups of one size",
    }
    plain = [(n, notes.get(n, "")) for n in LEGALIZERS if n != "stablehlo.composite"]
    plain += [(name, "by branches of the sequencers, or straight-line") for name in CONTROL_FLOW]
    plain = sorted(plain + list(_EXPANDED.items()))
    return plain + [(f"composite {name}", "") for name in sorted(COMPOSITES)]


@dataclass(frozen=True)
class LegalizeToNeuronPass(Pass, name="legalize-to-neuron"):
    """Replace every StableHLO operation of @main by neuron operations."""

    def apply(self, op: ir.Operation) -> bool:
        kept = called_functions(main_function(op))
        changed, findings = _legalize_all(kept)
        if findings:
            raise unsupported_error(findings)
        return _drop_other_functions(op, kept) or changed


def find_unsupported(module: ir.Operation) -> list[Finding]:
    """Every operation of a simplified module that cannot be compiled; the module is not changed."""
    copy = module.clone().operation
    with module.context, ir.Location.unknown():
        return _legalize_all(called_functions(main_function(copy)))[1]


def _legalize_all(functions: list[ir.Operation]) -> tuple[bool, list[Finding]]:
    """`_legalize` of each: whether anything was replaced, and what could not be in any of them."""
    done = [_legalize(function) for function in functions]
    return any(changed for changed, _ in done), [f for _, findings in done for f in findings]


def _legalize(main: ir.Operation) -> tuple[bool, list[Finding]]:
    """Replace what can be replaced; whether anything was, and what could not."""
    block = main.regions[0].blocks[0]
    narrow_wide_constants(block)
    findings = list(_bad_arguments(main, block))
    replaced: list[ir.Operation] = []
    for op in [o.operation for o in block.operations]:
        if is_neuron(op) or op.name == "func.return":
            continue
        try:
            _replace(op)
            replaced.append(op)
        except Unsupported as problem:
            findings.append(Finding(called(op), problem.reason, source_location(op), problem.hint))
    for op in reversed(replaced):
        if not findings:
            op.erase()
    return bool(replaced), findings


def _replace(op: ir.Operation) -> None:
    """Make the neuron form of `op` before it and give its uses to that."""
    legalizer = LEGALIZERS.get(op.name)
    if legalizer is None:
        raise Unsupported(*_unknown(op))
    for value in (*op.results, *op.operands):
        if problem := _bad_type(value.type):
            raise Unsupported(*problem)
    with in_place_of(op):
        made = legalizer(op)
        results = [fold(value) for value in (made if isinstance(made, tuple) else (made,))]
    for old, new in zip(op.results, results, strict=True):
        old.replace_all_uses_with(new)


def _unknown(op: ir.Operation) -> tuple[str, str]:
    """(reason, hint) for an operation without a legalizer."""
    if op.name == "stablehlo.custom_call":
        return custom_call_problem(op)
    return "not supported", _NEAREST_FORMS.get(op.name, ANY_FORM)


def _bad_arguments(main: ir.Operation, block: ir.Block) -> Iterator[Finding]:
    for number, argument in enumerate(block.arguments):
        if problem := _bad_type(argument.type):
            reason, hint = problem
            called = f"argument {_argument_name(main, number)}"
            yield Finding(called, reason, source_location(main), hint)


def _argument_name(main: ir.Operation, number: int) -> str:
    """As the user calls it, or its number."""
    if "arg_attrs" not in main.attributes:
        return str(number)
    attributes = ir.DictAttr(ir.ArrayAttr(main.attributes["arg_attrs"])[number])
    return f"'{ir.StringAttr(attributes[NAME]).value}'" if NAME in attributes else str(number)


def _bad_type(kind: ir.Type) -> tuple[str, str] | None:
    """(reason, hint) when values of this type cannot be compiled."""
    if not isinstance(kind, ir.RankedTensorType) or not kind.has_static_shape:
        return f"type {kind} has no static shape", "trace the model with fixed sizes"
    name = str(kind.element_type)
    if name in ANY:
        return None
    return f"element type {name}", _NEAREST_TYPES.get(name, f"use one of {', '.join(sorted(ANY))}")


def _drop_other_functions(module: ir.Operation, kept: list[ir.Operation]) -> bool:
    others = [
        op.operation
        for op in module.regions[0].blocks[0].operations
        if op.operation.name == "func.func" and op.operation not in kept
    ]
    for function in others:
        function.erase()
    return bool(others)
