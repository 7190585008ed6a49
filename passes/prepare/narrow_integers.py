"""Make 64-bit integers 32-bit ones: the machine has no 64-bit arithmetic.

Why: frameworks index with int64. Indices, masks and their plumbing rarely need more than 32 bits;
arithmetic that easily could is refused, not narrowed silently.

What is not checked, for it depends on the data: an argument beyond 32 bits (the host must refuse
it), a sum of a value and a constant that leaves 32 bits (it wraps), a float beyond them (it
saturates).

Precondition: StableHLO, inlined (`simplify`).
Postcondition: no i64 / ui64 tensors; arguments that had such a type carry `neuron.host_dtype`,
as do results.

Before:
    func.func @main(%i: tensor<4xi64>) -> tensor<4xi1> {
      %c = stablehlo.constant dense<0> : tensor<4xi64>
      %0 = stablehlo.compare NE, %i, %c : (tensor<4xi64>, tensor<4xi64>) -> tensor<4xi1>
After:
    func.func @main(%i: tensor<4xi32> {neuron.host_dtype = "i64"}) -> tensor<4xi1> {
      %c = stablehlo.constant dense<0> : tensor<4xi32>
      %0 = stablehlo.compare NE, %i, %c : (tensor<4xi32>, tensor<4xi32>) -> tensor<4xi1>

Refuses: constants that do not fit (CompileError); multiplication, sums of two computed values and
other 64-bit arithmetic (UnsupportedOpError) unless `allow-lossy=true`, which lets it wrap at 32
bits.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch_mlir import ir

from axonc.diagnostics import CompileError
from axonc.dialects.attributes import dense_to_numpy, numpy_to_dense
from axonc.dialects.locations import source_location
from axonc.dialects.neuron.argument_names import HOST_DTYPE
from axonc.dialects.neuron.repeat import REPEAT
from axonc.passes.base import Pass
from axonc.passes.unsupported import Finding, unsupported_error

NARROW = {"i64": "i32", "ui64": "ui32"}

_PLUMBING = frozenset(
    "stablehlo." + name
    for name in (
        "and broadcast broadcast_in_dim clamp compare composite concatenate constant convert copy "
        "dynamic_slice dynamic_update_slice gather iota maximum minimum not optimization_barrier "
        "or pad remainder reshape return reverse select sign slice sort transpose xor"
    ).split()
) | {"func.return", "func.func", "builtin.module", REPEAT}
"""Operations whose integer results are indices, masks or operands moved: no larger than what they
read."""

_WITH_CONSTANT = frozenset({"stablehlo.add", "stablehlo.subtract"})
_CHOICES = frozenset(
    f"stablehlo.{name}" for name in "maximum minimum and or not compare select return".split()
)
"""What a reduction may do whose results are some of its operands."""


@dataclass(frozen=True)
class NarrowIntegersPass(Pass, name="narrow-integers"):
    """Make 64-bit integers 32-bit ones, refusing what could lose bits."""

    allow_lossy: bool = False

    def apply(self, op: ir.Operation) -> bool:
        wide = _wide_operations(op)
        if not self.allow_lossy and (findings := find_lossy(op)):
            raise unsupported_error(findings)
        for each in wide:
            if each.name == "func.func" and _is_main(each):
                _note_host_dtypes(each)
        for each in wide:
            _narrow(each)
        for function in op.regions[0].blocks[0].operations:
            if function.operation.name == "func.func":
                _update_signature(function.operation)
        return bool(wide)


def _narrowed(kind: ir.Type) -> ir.Type | None:
    """The 32-bit form of a 64-bit integer tensor type; None for other types."""
    if not isinstance(kind, ir.RankedTensorType):
        return None
    name = NARROW.get(str(kind.element_type))
    return ir.RankedTensorType.get(kind.shape, ir.Type.parse(name)) if name else None


def _wide_operations(root: ir.Operation) -> list[ir.Operation]:
    """Operations which read, make, or have block arguments of 64-bit integers, outermost first."""
    found: list[ir.Operation] = []

    def visit(op: ir.Operation) -> ir.WalkResult:
        values = [*op.operands, *op.results, *_block_arguments(op)]
        if any(_narrowed(v.type) for v in values):
            found.append(op)
        return ir.WalkResult.ADVANCE

    root.walk(visit, ir.WalkOrder.PRE_ORDER)
    return found


def _block_arguments(op: ir.Operation) -> list[ir.Value]:
    return [a for region in op.regions for block in region.blocks for a in block.arguments]


def find_lossy(root: ir.Operation) -> list[Finding]:
    """Every operation that might need more than 32 bits."""
    hint = (
        "convert to int32 in the model; or, if 32 bits are enough, allow_lossy_integers=True, "
        "--implicit-integer-downcast all"
    )
    return [
        Finding(
            op.name,
            f"64-bit integer arithmetic ({reason}); the machine computes with 32 bits",
            source_location(op),
            hint,
        )
        for op in _wide_operations(root)
        if (reason := _lossy(op))
    ]


def _lossy(op: ir.Operation) -> str:
    """Why 32 bits might not be enough for this operation; "" when they are."""
    if op.name in _PLUMBING or not any(_narrowed(r.type) for r in op.results):
        return ""
    if op.name in _WITH_CONSTANT:
        both = all(_constant(v) is None for v in op.operands)
        return "sum of two computed values" if both else ""
    if op.name == "stablehlo.reduce":
        body = [o.operation.name for o in op.regions[0].blocks[0].operations]
        return "" if set(body) <= _CHOICES else "reduction"
    if op.parent and op.parent.operation.name == "stablehlo.reduce":
        return ""
    return "its result may need more than 32 bits"


def _constant(value: ir.Value) -> np.ndarray | None:
    """Elements of the constant behind broadcasts and reshapes; None for a computed value."""
    owner = value.owner
    while not isinstance(owner, ir.Block):
        op = owner.operation
        if op.name == "stablehlo.constant":
            return dense_to_numpy(op.attributes["value"])
        if op.name not in ("stablehlo.broadcast_in_dim", "stablehlo.reshape"):
            return None
        owner = op.operands[0].owner
    return None


def _narrow(op: ir.Operation) -> None:
    if op.name == "stablehlo.constant":
        _narrow_constant(op)
    for value in (*op.results, *_block_arguments(op)):
        if narrow := _narrowed(value.type):
            value.set_type(narrow)


def _narrow_constant(op: ir.Operation) -> None:
    kind = _narrowed(op.results[0].type)
    if kind is None:
        return
    array = dense_to_numpy(op.attributes["value"])
    limits = np.iinfo(np.uint32 if str(kind.element_type) == "ui32" else np.int32)
    outside = array[(array < limits.min) | (array > limits.max)]
    if outside.size:
        raise CompileError(
            f"the constant {outside.flat[0]} does not fit in {kind.element_type} "
            f"({limits.min} to {limits.max})",
            location=source_location(op),
            op=op.name,
            hint="the machine has 32-bit integers only",
        )
    op.attributes["value"] = numpy_to_dense(array, kind.element_type)


def _is_main(function: ir.Operation) -> bool:
    """Whether the host calls the function; its own calls pass what they have."""
    return ir.StringAttr(function.attributes["sym_name"]).value == "main"


def _note_host_dtypes(function: ir.Operation) -> None:
    """`neuron.host_dtype` on each 64-bit argument and result: the host passes it so, the runtime
    converts."""
    block = function.regions[0].blocks[0]
    _note(function, "arg_attrs", list(block.arguments))
    _note(function, "res_attrs", list(list(block.operations)[-1].operands))


def _note(function: ir.Operation, which: str, values: list[ir.Value]) -> None:
    present = function.attributes[which] if which in function.attributes else [()] * len(values)
    dictionaries = [{a.name: a.attr for a in d} for d in present]
    for attributes, value in zip(dictionaries, values, strict=True):
        if _narrowed(value.type):
            attributes[HOST_DTYPE] = ir.StringAttr.get(str(value.type.element_type))
    if any(dictionaries):
        array = [ir.DictAttr.get(d) for d in dictionaries]
        function.attributes[which] = ir.ArrayAttr.get(array)


def _update_signature(function: ir.Operation) -> None:
    block = function.regions[0].blocks[0]
    results = [v.type for v in list(block.operations)[-1].operands]
    kind = ir.FunctionType.get([a.type for a in block.arguments], results)
    function.attributes["function_type"] = ir.TypeAttr.get(kind)
