"""Make random numbers by integer arithmetic: the machine's own generators are not repeatable here.

Why: `rng_bit_generator` is a function of its state, so its bits can be those of XLA; `rng` is not,
and is made one of a key that comes with every call.

Precondition: StableHLO without calls but by `neuron.repeat`; loops are unrolled.
Postcondition: no `rng_bit_generator` and no `rng`. The first is Threefry2x32 or Philox4x32 as XLA
computes them (`DEFAULT` is Philox, as on XLA's CPU). Every `rng` has a key of its own, Threefry of
its number in the program under the argument `axonc.random_key`, which the host gives anew for each
call.

Before:
    %s, %x = stablehlo.rng_bit_generator %state, algorithm = PHILOX
        : (tensor<2xui64>) -> (tensor<2xui64>, tensor<4xui32>)
After:
    %0 = stablehlo.slice %state [0:1] : (tensor<2xui64>) -> tensor<1xui64>
    ... ten rounds of multiplications and exclusive ors

A normal number is by Box and Muller: sqrt(-2 log u) cos(2 pi v), u in (0, 1], v in [0, 1). A
uniform float is low + (high - low) u with u a multiple of 2^-23 in [0, 1); an integer is the rest
of 32 bits by the size of the range, which favours no number by more than size / 2^32.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from torch_mlir import ir

from axonc.diagnostics import Finding, unsupported_error
from axonc.dialects.attributes import element_name
from axonc.dialects.locations import source_location
from axonc.dialects.neuron.argument_names import NAME, RANDOM_KEY
from axonc.passes.base import Pass
from axonc.passes.graph.loop_counts import has_control_flow
from axonc.passes.graph.module import main_function
from axonc.passes.graph.rewrite import body_of, in_place_of, replace
from axonc.passes.prepare import words
from axonc.passes.prepare.expand import random_bits
from axonc.passes.prepare.inline_blocks import InlineBlocksPass
from axonc.passes.unsupported import Unsupported

GENERATOR, DRAW = "stablehlo.rng_bit_generator", "stablehlo.rng"


@dataclass(frozen=True)
class ExpandRandomPass(Pass, name="expand-random"):
    """Make random numbers by integer arithmetic, with the bits of XLA."""

    before_blocks: bool = False
    """Only if there are loops and branches on data, before the program is cut at them."""

    def apply(self, op: ir.Operation) -> bool:
        if self.before_blocks and not has_control_flow(op):
            return False
        draws = _operations(op, DRAW)
        _require_outside_of_loops(draws)
        if draws:
            InlineBlocksPass().apply(op)
            draws = _operations(op, DRAW)
        generators = _operations(op, GENERATOR)
        for each in generators:
            with in_place_of(each):
                replace(each, *_generated(each))
        for number, each in enumerate(draws):
            with in_place_of(each):
                replace(each, _drawn(each, number, _key_of(op, each)))
        return bool(draws or generators)


def _operations(root: ir.Operation, name: str) -> list[ir.Operation]:
    found: list[ir.Operation] = []

    def visit(op: ir.Operation) -> ir.WalkResult:
        if op.name == name:
            found.append(op)
        return ir.WalkResult.ADVANCE

    root.walk(visit, ir.WalkOrder.PRE_ORDER)
    return found


def _require_outside_of_loops(draws: Sequence[ir.Operation]) -> None:
    """Every iteration would draw the same. Raises: UnsupportedOpError."""
    reason = "random numbers in a loop that is not unrolled"
    hint = "draw by a key that the loop carries, as jax.random does"
    findings = [
        Finding(op.name, reason, source_location(op), hint) for op in draws if _is_in_a_loop(op)
    ]
    if findings:
        raise unsupported_error(findings)


def _is_in_a_loop(op: ir.Operation) -> bool:
    while op.name != "func.func":
        op = op.parent.operation
        if op.name == "stablehlo.while":
            return True
    return False


# ---- rng_bit_generator ---------------------------------------------------------------------


def _generated(op: ir.Operation) -> tuple[ir.Value, ir.Value]:
    """(new state, numbers)."""
    state, kind = op.operands[0], op.results[1].type
    algorithm = str(op.attributes["rng_algorithm"])
    numbers = [_element(state, n) for n in range(state.type.shape[0])]
    name, shape = element_name(kind), list(kind.shape)
    width = kind.element_type.width
    if "THREE_FRY" in algorithm:
        bits, start = random_bits.threefry_bits(numbers[0], numbers[1], shape, width)
        after = [numbers[0], start]
    else:
        # The state of two numbers is the key, and low and high half of the counter are its
        # second and its first: only the low half moves on.
        low, high = (numbers[1], numbers[2]) if len(numbers) > 2 else (numbers[1], numbers[0])
        bits, (low, high) = random_bits.philox_bits(numbers[0], (low, high), shape, width)
        after = [numbers[0], low, high][: len(numbers)]
    new_state = words.concatenate([words.reshape(n, [1]) for n in after], 0)
    found = bits if name.startswith("u") else words.bitcast(bits, kind)
    return new_state, found


def _element(vector: ir.Value, number: int) -> ir.Value:
    return words.reshape(words.slice_along(vector, 0, number, number + 1), [])


# ---- rng -----------------------------------------------------------------------------------


def _key_of(module: ir.Operation, op: ir.Operation) -> random_bits.Words:
    """The two words that a call gives."""
    main = main_function(module)
    given = main.attributes["arg_attrs"] if "arg_attrs" in main.attributes else ()
    for argument, attributes in zip(body_of(main).arguments, given, strict=False):
        if NAME in attributes and ir.StringAttr(attributes[NAME]).value == RANDOM_KEY:
            return tuple(_element(argument, n) for n in (0, 1))
    problem = f"random numbers without an argument '{RANDOM_KEY}' of two ui32"
    raise unsupported_error([Finding(op.name, problem, source_location(op), "import the program")])


def _drawn(op: ir.Operation, number: int, key: random_bits.Words) -> ir.Value:
    kind = op.results[0].type
    scalar = ir.RankedTensorType.get([], words.u32())
    counter = (words.filled(number, scalar), words.filled(0, scalar))
    own = random_bits.joined(*random_bits.threefry(key, counter))
    low, high = (random_bits.shaped(v, op.results[0]) for v in list(op.operands)[:2])
    if "NORMAL" in str(op.attributes["rng_distribution"]):
        return _affine(_normal(own, kind), low, high, kind)
    if element_name(kind)[0] in "ui":
        return _integers(own, low, high, kind)
    unit = _units(own, list(kind.shape), 0)
    span = words.subtract(*(words.convert(v, words.f32()) for v in (high, low)))
    return _affine(unit, low, span, kind)


def _affine(x: ir.Value, shift: ir.Value, scale: ir.Value, kind: ir.RankedTensorType) -> ir.Value:
    """shift + scale x, computed in float32."""
    wide = [words.convert(v, words.f32()) for v in (shift, scale)]
    found = words.add(wide[0], words.multiply(wide[1], x))
    return words.convert(found, kind.element_type)


def _units(key: ir.Value, shape: Sequence[int], start: int) -> ir.Value:
    """float32 in [0, 1): 23 bits behind a one, less 1."""
    zero = words.filled(start, ir.RankedTensorType.get([], random_bits.u64()))
    bits, _ = random_bits.threefry_bits(key, zero, shape, 32)
    mantissa = words.either(words.shift_right(bits, 9), 0x3F800000)
    return words.add(words.bitcast(mantissa, words.of_shape(mantissa, words.f32())), -1.0)


def _normal(key: ir.Value, kind: ir.RankedTensorType) -> ir.Value:
    shape = list(kind.shape)
    u, v = _units(key, shape, 0), _units(key, shape, 1 << 32)
    size = words.create("log", (words.subtract(1.0, u),), u.type)
    radius = words.create("sqrt", (words.multiply(size, -2.0),), u.type)
    turned = words.create("cosine", (words.multiply(v, 2 * math.pi),), v.type)
    return words.multiply(radius, turned)


def _integers(key: ir.Value, low: ir.Value, high: ir.Value, kind: ir.RankedTensorType) -> ir.Value:
    """From `low` to below `high`."""
    width = kind.element_type.width
    if width == 1:
        raise Unsupported("random booleans", "compare uniform floats with a probability")
    natural = ir.IntegerType.get_unsigned(max(width, 32))
    zero = words.filled(0, ir.RankedTensorType.get([], random_bits.u64()))
    bits, _ = random_bits.threefry_bits(key, zero, list(kind.shape), max(width, 32))
    span = words.subtract(words.convert(high, natural), words.convert(low, natural))
    rest = words.create("remainder", (bits, span), bits.type)
    return words.convert(words.add(words.convert(low, natural), rest), kind.element_type)
