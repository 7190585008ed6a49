"""StableHLO text, operation by operation."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from axonc.tools.fuzz.program import BOOL, FLOATS, Kind


@dataclass(frozen=True)
class Value:
    """A value of the text."""

    name: str
    """As the text has it, such as `%v7`."""
    kind: Kind

    def __str__(self) -> str:
        return self.name


class Writer:
    """The body of one function that grows line by line."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def add(self, text: str, kind: Kind) -> Value:
        """An operation with one result, given without `name =`."""
        name = f"%v{len(self.lines)}"
        self.lines.append(f"{name} = {text}")
        return Value(name, kind)

    def op(self, name: str, *operands: Value) -> Value:
        """An operation whose operands and result are of one kind."""
        kind = operands[0].kind
        listed = ", ".join(map(str, operands))
        if name.startswith("chlo."):
            types = ", ".join(str(o.kind) for o in operands)
            return self.add(f"{name} {listed} : {types} -> {kind}", kind)
        return self.add(f"stablehlo.{name} {listed} : {kind}", kind)

    def compare(self, direction: str, a: Value, b: Value) -> Value:
        kind = a.kind.of(BOOL)
        types = f"({a.kind}, {b.kind}) -> {kind}"
        return self.add(f"stablehlo.compare {direction}, {a}, {b} : {types}", kind)

    def select(self, condition: Value, a: Value, b: Value) -> Value:
        types = f"{condition.kind}, {a.kind}"
        return self.add(f"stablehlo.select {condition}, {a}, {b} : {types}", a.kind)

    def splat(self, number: float | int | bool, kind: Kind) -> Value:
        """One number everywhere."""
        return self.add(f"stablehlo.constant dense<{literal(number, kind)}> : {kind}", kind)

    def typed(self, name: str, operands: Sequence[Value], rest: str, kind: Kind) -> Value:
        """`stablehlo.name operands, rest : (types) -> kind`."""
        types = ", ".join(str(o.kind) for o in operands)
        listed = ", ".join([*map(str, operands), *([rest] if rest else [])])
        return self.add(f"stablehlo.{name} {listed} : ({types}) -> {kind}", kind)

    def generic(
        self, name: str, operands: Sequence[Value], attributes: str, kind: Kind, region: str = ""
    ) -> Value:
        """In the generic form, with the text of a region if there is one."""
        types = ", ".join(str(o.kind) for o in operands)
        listed = ", ".join(map(str, operands))
        body = f" ({{{region}}})" if region else ""
        return self.add(
            f'"stablehlo.{name}"({listed}){body} {{{attributes}}} : ({types}) -> {kind}', kind
        )


_HEXADECIMAL = {"f32": (8, 0x7F800000), "bf16": (4, 0x7F80), "f16": (4, 0x7C00)}
"""Digits and the bits of infinity, for numbers that have no decimal form."""


def literal(number: float | int | bool, kind: Kind) -> str:
    """The number as MLIR writes it in an element type."""
    if kind.element == BOOL:
        return "true" if number else "false"
    if kind.element not in (*FLOATS, "f64"):
        return str(int(number))
    if number in (float("inf"), float("-inf")) or number != number:
        return _special(float(number), kind.element)
    digits = repr(float(number))
    if "e" not in digits:
        return digits
    mantissa, exponent = digits.split("e")
    return f"{mantissa if '.' in mantissa else mantissa + '.0'}e{exponent}"


def _special(number: float, element: str) -> str:
    digits, infinity = (16, 0x7FF0000000000000) if element == "f64" else _HEXADECIMAL[element]
    bits = infinity | (infinity >> 1 if number != number else 0)
    if number < 0:
        bits |= 1 << (4 * digits - 1)
    return f"0x{bits:0{digits}X}"


def module_text(arguments: Iterable[Value], writer: Writer, results: Sequence[Value]) -> str:
    """A module whose `@main` is the body."""
    given = ", ".join(f"{a.name}: {a.kind}" for a in arguments)
    types = ", ".join(str(r.kind) for r in results)
    body = "\n".join(f"    {line}" for line in writer.lines)
    returned = f"    return {', '.join(map(str, results))} : {types}"
    return f"module {{\n  func.func @main({given}) -> ({types}) {{\n{body}\n{returned}\n  }}\n}}\n"


def numbers(values: Iterable[int | bool]) -> str:
    """`[1, 2]`."""
    return "[" + ", ".join(str(v).lower() for v in values) + "]"


def array(values: Iterable[int]) -> str:
    """`array<i64: 1, 2>`."""
    listed = ", ".join(map(str, values))
    return f"array<i64: {listed}>" if listed else "array<i64>"
