"""A function body as numbers: what `repeated_blocks` compares instead of operations.

Two operations have one signature when they differ at most in their operands and their location.
Symbols count by what the function of that name computes, as frameworks write one decomposition per
use (`@gelu`, `@gelu_0`). Reading operations through the bindings is slow, so each is read once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field

from torch_mlir import ir
from torch_mlir._mlir_libs import _stablehlo

ARGUMENT, CONSTANT = -1, -2
"""In `Body.owner`: values that no operation of the sequence makes."""

_COPIED = frozenset({"stablehlo.broadcast_in_dim", "stablehlo.reshape"})
"""What makes a splat of a splat."""


@dataclass
class Body:
    """The operations of a block in order, without constants and the terminator. Values are
    numbers."""

    operations: list[ir.Operation] = field(default_factory=list)
    keys: list[int] = field(default_factory=list)
    """By operation, its signature."""
    operands: list[list[int]] = field(default_factory=list)
    """By operation, the values it reads."""
    results: list[list[int]] = field(default_factory=list)
    """By operation, the values it makes."""
    values: list[ir.Value] = field(default_factory=list)
    owner: list[int] = field(default_factory=list)
    """By value, the operation that makes it; or ARGUMENT or CONSTANT."""
    place: list[int] = field(default_factory=list)
    """By value, which result of its operation it is."""
    users: list[list[int]] = field(default_factory=list)
    """By value, the operations that read it."""
    constant: dict[int, int] = field(default_factory=dict)
    """By value that is a constant, a number that is equal for constants of equal elements."""
    returned: set[int] = field(default_factory=set)
    """Operands of the terminator."""
    repeatedly: set[int] = field(default_factory=set)
    """Those that are operands of it more than once."""

    def new_value(self, value: ir.Value, owner: int, place: int) -> int:
        """The number of a value not seen before."""
        self.values.append(value)
        self.owner.append(owner)
        self.place.append(place)
        self.users.append([])
        return len(self.values) - 1


def read_body(function: ir.Operation, signatures: Signatures) -> Body:
    """The body of a function of one block."""
    block = function.regions[0].blocks[0]
    body, number = Body(), {}
    for place, argument in enumerate(block.arguments):
        number[argument] = body.new_value(argument, ARGUMENT, place)
    splats: set[int] = set()
    for each in block.operations:
        op = each.operation
        operands = [number[v] for v in op.operands]
        if op.name == "func.return":
            body.returned.update(operands)
            body.repeatedly = {v for v, times in Counter(operands).items() if times > 1}
            continue
        key = signatures.of(op)
        owner = _append(body, op, key, operands, splats)
        for place, value in enumerate(op.results):
            number[value] = made = body.new_value(value, owner, place)
            if owner == CONSTANT:
                body.constant[made] = signatures.intern(
                    ("value", key, tuple(body.constant[v] for v in operands))
                )
                splats.update([made] if operands or _is_splat(op) else [])
            else:
                body.results[owner].append(made)
    return body


def _append(body: Body, op: ir.Operation, key: int, operands: list[int], splats: set[int]) -> int:
    """The number of the operation in the sequence; CONSTANT when it is none of it."""
    if op.name == "stablehlo.constant":
        return CONSTANT
    if op.name in _COPIED and all(v in splats for v in operands):
        return CONSTANT
    body.operations.append(op)
    body.keys.append(key)
    body.operands.append(operands)
    body.results.append([])
    number = len(body.keys) - 1
    for value in set(operands):
        body.users[value].append(number)
    return number


def _has_complex_value(op: ir.Operation) -> bool:
    """Whether it is a constant whose elements the bindings have no attribute for."""
    if op.name != "stablehlo.constant":
        return False
    return isinstance(getattr(op.results[0].type, "element_type", None), ir.ComplexType)


def _is_splat(op: ir.Operation) -> bool:
    if _has_complex_value(op):
        return False
    value = op.attributes["value"]
    return isinstance(value, ir.DenseElementsAttr) and value.is_splat


class Signatures:
    """Numbers that are equal for equal operations of one module."""

    def __init__(self, module: ir.Operation) -> None:
        self._numbers: dict[Hashable, int] = {}
        self._functions = {
            ir.StringAttr(op.operation.attributes["sym_name"]).value: op.operation
            for op in module.regions[0].blocks[0].operations
            if op.operation.name == "func.func"
        }
        self._of_function: dict[str, int] = {}

    def intern(self, what: Hashable) -> int:
        """The number of this description."""
        return self._numbers.setdefault(what, len(self._numbers))

    def of(self, op: ir.Operation) -> int:
        """The signature of an operation, whatever its operands are."""
        if _has_complex_value(op):
            return self.intern(op.get_asm(use_local_scope=True, assume_verified=True))
        return self.intern(
            (
                op.name,
                tuple((name, self._attribute(value)) for name, value in op.attributes.items()),
                tuple(v.type for v in op.operands),
                tuple(v.type for v in op.results),
                tuple(self._region(region) for region in op.regions),
            )
        )

    def _attribute(self, value: ir.Attribute) -> Hashable:
        if _stablehlo.ChannelHandle.isinstance(value):
            # Its number tells collectives apart; what they do depends on whether there is one.
            return ("channel", _stablehlo.ChannelHandle(value).handle > 0)
        if isinstance(value, ir.FlatSymbolRefAttr) and value.value in self._functions:
            return ("function", self._function(value.value))
        return value

    def _function(self, name: str) -> int:
        if name not in self._of_function:
            function = self._functions[name]
            # A short text is read faster than operations are; it says all if it names no other.
            text = function.get_asm(use_local_scope=True, assume_verified=True)
            text = text.replace(f"@{name}(", "(", 1)
            names_others = "@" in text
            content = self._region(function.regions[0]) if names_others else text
            self._of_function[name] = self.intern(content)
        return self._of_function[name]

    def _region(self, region: ir.Region) -> Hashable:
        """Values numbered in order of appearance; a value from outside makes it like no other."""
        local: dict[ir.Value, int] = {}
        blocks = list(region.blocks)
        for block in blocks:
            _number(local, list(block.arguments))
        text: list[Hashable] = []
        for block in blocks:
            text.append(tuple(a.type for a in block.arguments))
            for each in block.operations:
                op = each.operation
                if any(v not in local for v in op.operands):
                    return object()
                text.append((self.of(op), tuple(local[v] for v in op.operands)))
                _number(local, list(op.results))
        return tuple(text)


def _number(local: dict[ir.Value, int], values: Sequence[ir.Value]) -> None:
    for value in values:
        local[value] = len(local)
