"""Make complex numbers pairs of reals, and Fourier transforms matrix products.

Why: the machine has no complex numbers, but everything that is done with them is a few operations
on reals.

Precondition: StableHLO without calls but by `neuron.repeat`; loops are unrolled where their count
is known.
Postcondition: no complex tensors. An argument or result of `@main` that was one is
`tensor<2x...xf32>`, the real parts first, and carries `neuron.host_dtype`. No `fft`.

Before:
    %0 = stablehlo.multiply %x, %y : tensor<4xcomplex<f32>>
After:
    %0 = stablehlo.multiply %xr, %yr : tensor<4xf32>
    %1 = stablehlo.multiply %xi, %yi : tensor<4xf32>
    %2 = stablehlo.subtract %0, %1 : tensor<4xf32>
    ... and likewise the imaginary part

What moves elements is done to both parts; sums too, as are their gradients (scatter, windows). A
reduction by anything else is made in halves: the first half of the elements with the second one,
until one is left, by the operations of its region. Blocks that hold complex numbers are inlined.

Refuses: complex<f64>, and operations without a rule (UnsupportedOpError).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
from torch_mlir import ir
from torch_mlir.passmanager import PassManager

from axonc.backends.numerics.wide_integers import COMPLEX
from axonc.diagnostics import Finding, unsupported_error
from axonc.dialects.attributes import element_name
from axonc.dialects.locations import source_location
from axonc.dialects.neuron.argument_names import HOST_DTYPE
from axonc.dialects.stablehlo import comparison_direction, dense_integers
from axonc.passes.base import Pass
from axonc.passes.graph.module import main_function
from axonc.passes.graph.rewrite import body_of, in_place_of, redirect
from axonc.passes.prepare import words
from axonc.passes.prepare.expand import complex_math as math
from axonc.passes.prepare.expand import fourier
from axonc.passes.prepare.expand.complex_math import Complex
from axonc.passes.prepare.inline_blocks import InlineBlocksPass
from axonc.passes.unsupported import Unsupported

Result: TypeAlias = "Complex | ir.Value"
Rule: TypeAlias = "Callable[[Pairs, ir.Operation], Result | Sequence[Result]]"

UPSTREAM = "builtin.module(func.func(stablehlo-complex-math-expander))"
HINT = "compute with real numbers: real and imaginary part as two tensors"


@dataclass(frozen=True)
class ExpandComplexPass(Pass, name="expand-complex"):
    """Make complex numbers pairs of reals, and Fourier transforms matrix products."""

    def apply(self, op: ir.Operation) -> bool:
        if not _concerned(op):
            return False
        main = main_function(op)
        if any(_function_of(each) != main for each in _concerned(op)):
            InlineBlocksPass().apply(op)
        PassManager.parse(UPSTREAM).run(op)
        _expand(main_function(op))
        return True


def is_complex(value: ir.Value) -> bool:
    return isinstance(value.type, ir.RankedTensorType) and element_name(value.type) == COMPLEX


def _touches(op: ir.Operation) -> bool:
    arguments = [a for r in op.regions for b in r.blocks for a in b.arguments]
    return op.name == "stablehlo.fft" or any(
        is_complex(v) for v in (*op.operands, *op.results, *arguments)
    )


def _concerned(root: ir.Operation) -> list[ir.Operation]:
    found: list[ir.Operation] = []

    def visit(op: ir.Operation) -> ir.WalkResult:
        if _touches(op):
            found.append(op)
        return ir.WalkResult.ADVANCE

    root.walk(visit, ir.WalkOrder.PRE_ORDER)
    return found


def _function_of(op: ir.Operation) -> ir.Operation:
    while op.name != "func.func":
        op = op.parent.operation
    return op


@dataclass
class Pairs:
    """What the complex values of a function have become."""

    made: dict[ir.Value, Complex] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)

    def of(self, value: ir.Value) -> Complex:
        """A complex value, or a real one as such."""
        return self.made[value] if value in self.made else math.of_real(value)

    def expand(self, op: ir.Operation) -> None:
        with in_place_of(op):
            try:
                found = self._made(op)
            except Unsupported as problem:
                where = source_location(op)
                self.findings.append(Finding(op.name, problem.reason, where, problem.hint))
                found = [_placeholder(v) for v in op.results]
            for old, new in zip(op.results, found, strict=True):
                if isinstance(new, Complex):
                    self.made[old] = new
                else:
                    redirect([old], [new])

    def _made(self, op: ir.Operation) -> Sequence[Result]:
        rule = RULES.get(op.name.removeprefix("stablehlo."))
        if rule is None:
            raise Unsupported("complex numbers", HINT)
        made = rule(self, op)
        return [made] if isinstance(made, (Complex, ir.Value)) else made


def _placeholder(value: ir.Value) -> Result:
    if not is_complex(value):
        return words.filled(0, value.type)
    return math.of_real(words.filled(0.0, real_type(value.type)))


def real_type(kind: ir.Type) -> ir.RankedTensorType:
    return ir.RankedTensorType.get(kind.shape, words.f32())


def _expand(main: ir.Operation) -> None:
    block, pairs = body_of(main), Pairs()
    _note_host_dtypes(main)
    operations = [o.operation for o in block.operations]
    stand_ins = [_split_argument(a, block, pairs) for a in block.arguments if is_complex(a)]
    for op in operations:
        if op.name == "func.return":
            _join_results(op, pairs)
        elif any(map(_touches, _with_inner(op))):
            pairs.expand(op)
    if pairs.findings:
        raise unsupported_error(pairs.findings)
    for op in reversed(operations):
        if any(map(_touches, _with_inner(op))):
            op.erase()
    for each in stand_ins:
        each.erase()
    results = [v.type for v in list(block.operations)[-1].operands]
    kind = ir.FunctionType.get([a.type for a in block.arguments], results)
    main.attributes["function_type"] = ir.TypeAttr.get(kind)


def _with_inner(op: ir.Operation) -> list[ir.Operation]:
    inner = [o.operation for r in op.regions for b in r.blocks for o in b.operations]
    return [op, *(each for o in inner for each in _with_inner(o))]


# ---- the edges of @main --------------------------------------------------------------------


def _split_argument(argument: ir.Value, block: ir.Block, pairs: Pairs) -> ir.Operation:
    """What its uses read until they are expanded, which has its old type."""
    shape = list(argument.type.shape)
    old = argument.type
    with ir.InsertionPoint.at_block_begin(block), block.owner.location:
        stand_in = ir.Operation.create("builtin.unrealized_conversion_cast", [old], [])
        argument.replace_all_uses_with(stand_in.results[0])
        argument.set_type(ir.RankedTensorType.get([2, *shape], words.f32()))
        rows = (words.slice_along(argument, 0, n, n + 1) for n in (0, 1))
        pairs.made[stand_in.results[0]] = Complex(*(words.reshape(row, shape) for row in rows))
    return stand_in


def _join_results(op: ir.Operation, pairs: Pairs) -> None:
    for number, value in enumerate(op.operands):
        if value in pairs.made:
            with ir.InsertionPoint(op), op.location:
                rows = [words.reshape(p, [1, *p.type.shape]) for p in pairs.made[value].parts]
                op.operands[number] = words.concatenate(rows, 0)


def _note_host_dtypes(main: ir.Operation) -> None:
    block = body_of(main)
    sides = {"arg_attrs": block.arguments, "res_attrs": list(block.operations)[-1].operands}
    for which, values in sides.items():
        present = main.attributes[which] if which in main.attributes else [()] * len(values)
        dictionaries = [{a.name: a.attr for a in d} for d in present]
        for attributes, value in zip(dictionaries, values, strict=True):
            if is_complex(value):
                attributes[HOST_DTYPE] = ir.StringAttr.get(COMPLEX)
        if any(dictionaries):
            array = [ir.DictAttr.get(d) for d in dictionaries]
            main.attributes[which] = ir.ArrayAttr.get(array)


# ---- rules ---------------------------------------------------------------------------------


def _unary(function: Callable[[Complex], Result]) -> Rule:
    return lambda to, op: function(to.of(op.operands[0]))


def _binary(function: Callable[[Complex, Complex], Result]) -> Rule:
    return lambda to, op: function(*map(to.of, op.operands))


def _both_parts(to: Pairs, op: ir.Operation) -> list[Result]:
    """The operation on the real parts and on the imaginary ones; other operands for both."""
    halves = []
    for half in (0, 1):
        operands = [to.made[v].parts[half] if v in to.made else v for v in op.operands]
        kinds = [real_type(v.type) if is_complex(v) else v.type for v in op.results]
        attributes = dict(op.attributes.items())
        made = ir.Operation.create(op.name, kinds, operands, attributes, regions=len(op.regions))
        for new, old in zip(made.regions, op.regions, strict=True):
            _real_region(new, old)
        halves.append(made.results)
    pairs = zip(op.results, *halves, strict=True)
    return [Complex(re, im) if is_complex(old) else re for old, re, im in pairs]


def _real_region(new: ir.Region, old: ir.Region) -> None:
    """Of a sum, or of the choice of one of its arguments: the same on reals."""
    block = old.blocks[0]
    scalar = ir.RankedTensorType.get([], words.f32())
    made = new.blocks.append(
        *(scalar for _ in block.arguments), arg_locs=[a.location for a in block.arguments]
    )
    values = dict(zip(block.arguments, made.arguments, strict=True))
    with ir.InsertionPoint(made):
        for each in block.operations:
            op = each.operation
            if op.name not in ("stablehlo.add", "stablehlo.return"):
                raise Unsupported(f"complex numbers combined by {op.name}", HINT)
            operands = [values[v] for v in op.operands]
            kinds = [scalar for _ in op.results]
            copy = ir.Operation.create(op.name, kinds, operands, dict(op.attributes.items()))
            values.update(zip(op.results, copy.results, strict=True))


def _constant(to: Pairs, op: ir.Operation) -> Complex:
    array = complex_elements(op)
    parts = (np.asarray(a, np.float32) for a in (array.real, array.imag))
    re, im = (words.constant(p, words.f32()) for p in parts)
    return Complex(re, im)


_HEX_BLOB = re.compile(r'dense<"0x([0-9A-F]*)">')
_NUMBER = re.compile(r"\(([^,()]*),([^,()]*)\)")


def complex_elements(op: ir.Operation) -> np.ndarray:
    """The numbers of a constant of complex<f32>: the bindings have no attribute for them, so they
    are read where they are printed."""
    text = op.get_asm(use_local_scope=True, assume_verified=True)
    text = text[text.index("dense<") : text.rindex(" : tensor<")]
    shape = tuple(op.results[0].type.shape)
    if blob := _HEX_BLOB.match(text):
        values = np.frombuffer(bytes.fromhex(blob[1]), np.complex64)
    else:
        pairs = [[_decimal(word) for word in pair] for pair in _NUMBER.findall(text)]
        values = np.array(pairs, np.float32).reshape(-1, 2).view(np.complex64)[:, 0]
    if values.size == 1:
        return np.broadcast_to(values.reshape(()), shape)
    return values.reshape(shape)


def _decimal(word: str) -> float:
    """NaN and infinities are printed as their bits."""
    word = word.strip()
    if word.startswith("0x"):
        return float(np.array(int(word, 16), np.uint32).view(np.float32))
    return float(word)


def _iota(to: Pairs, op: ir.Operation) -> Complex:
    kind = real_type(op.results[0].type)
    return math.of_real(words.create("iota", (), kind, dict(op.attributes.items())))


def _compare(to: Pairs, op: ir.Operation) -> ir.Value:
    a, b = map(to.of, op.operands)
    return math.compare(a, comparison_direction(op), b)


def _convert(to: Pairs, op: ir.Operation) -> Result:
    value, kind = op.operands[0], op.results[0].type
    if not is_complex(op.results[0]):
        if element_name(kind) == "i1":
            zero = math.filled(0.0, 0.0, to.of(value))
            return math.compare(to.of(value), "NE", zero)
        return words.convert(to.of(value).re, kind.element_type)
    return to.of(value) if value in to.made else math.of_real(words.convert(value, words.f32()))


def _select(to: Pairs, op: ir.Operation) -> Complex:
    predicate, on_true, on_false = op.operands
    a = to.of(on_true)
    if not predicate.type.rank and a.re.type.rank:
        predicate = words.broadcast(predicate, a.re.type.shape, ())
    return math.select(predicate, a, to.of(on_false))


def _clamp(to: Pairs, op: ir.Operation) -> Complex:
    low, value, high = map(to.of, op.operands)
    shape = value.re.type.shape
    low, high = (
        b if b.re.type.rank == len(shape) else b.each(lambda s: words.broadcast(s, shape, ()))
        for b in (low, high)
    )
    return math.minimum(math.maximum(value, low), high)


def _product(to: Pairs, op: ir.Operation) -> Complex:
    """Four products of reals."""
    a, b = map(to.of, op.operands)
    kind = real_type(op.results[0].type)

    def real(x: ir.Value, y: ir.Value) -> ir.Value:
        attributes = dict(op.attributes.items())
        return ir.Operation.create(op.name, [kind], [x, y], attributes).results[0]

    re = words.subtract(real(a.re, b.re), real(a.im, b.im))
    return Complex(re, words.add(real(a.re, b.im), real(a.im, b.re)))


def _fft(to: Pairs, op: ir.Operation) -> Result:
    kind = re.sub(r".*\b(I?R?FFT)\b.*", r"\1", str(op.attributes["fft_type"]))
    lengths = list(dense_integers(op.attributes["fft_length"]))
    value = op.operands[0]
    if not is_complex(value) and element_name(value.type) != "f32":
        raise Unsupported(f"a Fourier transform of {element_name(value.type)}", "use float32")
    found = fourier.fft(to.of(value), kind, lengths, is_real=value not in to.made)
    return found if is_complex(op.results[0]) else found.re


def _reduce(to: Pairs, op: ir.Operation) -> list[Result]:
    """A sum by parts; anything else in halves."""
    body = [o.operation for o in op.regions[0].blocks[0].operations]
    if len(op.operands) == 2 and [o.name for o in body[:-1]] == ["stablehlo.add"]:
        return _both_parts(to, op)
    return _in_halves(to, op)


def _in_halves(to: Pairs, op: ir.Operation) -> list[Result]:
    count = len(op.results)
    values: list[Result] = [_value(to, v) for v in list(op.operands)[:count]]
    dims = sorted(dense_integers(op.attributes["dimensions"]))
    for dim in reversed(dims):
        values = _halved(to, op, values, dim)
    shape = _shape(values[0])
    initial = [_value(to, v) for v in list(op.operands)[count:]]
    first = [_each(v, lambda x: words.broadcast(x, shape, ())) for v in initial]
    return _combined(to, op, first, values)


def _value(to: Pairs, value: ir.Value) -> Result:
    return to.made[value] if value in to.made else value


def _each(value: Result, function: Callable[[ir.Value], ir.Value]) -> Result:
    return value.each(function) if isinstance(value, Complex) else function(value)


def _shape(value: Result) -> list[int]:
    part = value.re if isinstance(value, Complex) else value
    return list(part.type.shape)


def _halved(to: Pairs, op: ir.Operation, values: list[Result], dim: int) -> list[Result]:
    """Until one element is left along `dim`, which goes."""
    while (size := _shape(values[0])[dim]) > 1:
        half = size // 2
        found = _combined(to, op, _part(values, dim, 0, half), _part(values, dim, half, 2 * half))
        if size % 2:
            rest = _part(values, dim, 2 * half, size)
            found = [_joined(a, b, dim) for a, b in zip(found, rest, strict=True)]
        values = found
    shape = [n for d, n in enumerate(_shape(values[0])) if d != dim]
    return [_each(v, lambda x: words.reshape(x, shape)) for v in values]


def _part(values: list[Result], dim: int, start: int, limit: int, stride: int = 1) -> list[Result]:
    return [_each(v, lambda x: words.slice_along(x, dim, start, limit, stride)) for v in values]


def _reduce_window(to: Pairs, op: ir.Operation) -> list[Result]:
    """Sums by parts; anything else along one dim after the other. A window of w elements is made of
    windows of powers of two, each of which is two of half its length, side by side."""
    body = [o.operation for o in op.regions[0].blocks[0].operations]
    if len(op.operands) == 2 and [o.name for o in body[:-1]] == ["stablehlo.add"]:
        return _both_parts(to, op)
    for name in ("base_dilations", "window_dilations"):
        if name in op.attributes and set(dense_integers(op.attributes[name])) != {1}:
            raise Unsupported(f"complex numbers in windows with {name}", HINT)
    count = len(op.results)
    values = [_value(to, v) for v in list(op.operands)[:count]]
    initial = [_value(to, v) for v in list(op.operands)[count:]]
    sizes = dense_integers(op.attributes["window_dimensions"])
    strides = _integers(op, "window_strides") or [1] * len(sizes)
    edges = _integers(op, "padding") or [0] * 2 * len(sizes)
    for dim, (size, stride) in enumerate(zip(sizes, strides, strict=True)):
        for count_, at_end in ((edges[2 * dim], False), (edges[2 * dim + 1], True)):
            values = [
                _widened(v, i, dim, count_, at_end) for v, i in zip(values, initial, strict=True)
            ]
        values = _windowed(to, op, values, dim, size)
        values = _part(values, dim, 0, _shape(values[0])[dim], stride)
    return values


def _integers(op: ir.Operation, name: str) -> list[int]:
    if name not in op.attributes:
        return []
    attribute = op.attributes[name]
    if isinstance(attribute, ir.DenseIntElementsAttr):
        return [int(n) for n in np.array(attribute).reshape(-1)]
    return list(dense_integers(attribute))


def _widened(value: Result, initial: Result, dim: int, count: int, at_end: bool) -> Result:
    """`count` initial values before or behind the elements along `dim`."""
    if not count:
        return value
    if count < 0:
        raise Unsupported("complex numbers in windows with negative padding", HINT)
    shape = [count if d == dim else n for d, n in enumerate(_shape(value))]
    edge = _each(initial, lambda x: words.broadcast(x, shape, ()))
    return _joined(value, edge, dim) if at_end else _joined(edge, value, dim)


def _windowed(
    to: Pairs, op: ir.Operation, values: list[Result], dim: int, size: int
) -> list[Result]:
    """Every window of `size` elements along `dim`, one element further each."""
    total = _shape(values[0])[dim] - size + 1
    power, powers, found, start = 1, values, None, 0
    while power <= size:
        if size & power:
            here = _part(powers, dim, start, start + total)
            found = here if found is None else _combined(to, op, found, here)
            start += power
        length = _shape(powers[0])[dim]
        power *= 2
        if power <= size:
            half = power // 2
            left, right = (_part(powers, dim, a, length - half + a) for a in (0, half))
            powers = _combined(to, op, left, right)
    return found or values


def _joined(a: Result, b: Result, dim: int) -> Result:
    if isinstance(a, Complex) and isinstance(b, Complex):
        return Complex(words.concatenate((a.re, b.re), dim), words.concatenate((a.im, b.im), dim))
    return words.concatenate((a, b), dim)


def _combined(
    to: Pairs, op: ir.Operation, first: list[Result], second: list[Result]
) -> list[Result]:
    """What the region makes of two tensors of elements."""
    block, shape = op.regions[0].blocks[0], _shape(first[0])
    inner = Pairs(dict(to.made))
    known: dict[ir.Value, ir.Value] = {}
    for argument, value in zip(block.arguments, (*first, *second), strict=True):
        if isinstance(value, Complex):
            inner.made[argument] = value
        else:
            known[argument] = value
    for each in block.operations:
        one = each.operation
        if one.name == "stablehlo.return":
            return [inner.made[v] if v in inner.made else known[v] for v in one.operands]
        _spread_over(inner, one, known, shape)
    raise Unsupported("a reduction without result", HINT)


def _spread_over(
    inner: Pairs, op: ir.Operation, known: dict[ir.Value, ir.Value], shape: list[int]
) -> None:
    """A scalar operation of a region, on tensors of `shape`."""
    if op.name == "stablehlo.constant" or op.regions:
        raise Unsupported(f"a reduction by {op.name}", HINT)
    kinds = [ir.RankedTensorType.get(shape, v.type.element_type) for v in op.results]
    if not _touches(op):
        operands = [known[v] for v in op.operands]
        made = ir.Operation.create(op.name, kinds, operands, dict(op.attributes.items()))
        known.update(zip(op.results, made.results, strict=True))
        return
    rule = RULES.get(op.name.removeprefix("stablehlo."))
    if rule is None or rule is _both_parts:
        raise Unsupported(f"complex numbers combined by {op.name}", HINT)
    view = Pairs({v: inner.made[v] for v in op.operands if v in inner.made})
    copy = op.clone().operation
    for number, operand in enumerate(op.operands):
        if operand in known:
            copy.operands[number] = known[operand]
    found = rule(view, copy)
    copy.erase()
    if isinstance(found, Complex):
        inner.made[op.results[0]] = found
    else:
        known[op.results[0]] = found  # type: ignore[assignment]


_BOTH = (
    "all_gather all_to_all broadcast broadcast_in_dim collective_permute concatenate copy "
    "dynamic_slice dynamic_update_slice gather optimization_barrier pad reshape "
    "reverse scatter slice transpose"
).split()

RULES: dict[str, Rule] = dict.fromkeys(_BOTH, _both_parts) | {
    "abs": _unary(math.magnitude),
    "add": _binary(math.add),
    "atan2": _binary(math.atan2),
    "cbrt": _unary(math.cbrt),
    "clamp": _clamp,
    "compare": _compare,
    "complex": lambda to, op: Complex(*op.operands),
    "constant": _constant,
    "convert": _convert,
    "convolution": _product,
    "cosine": _unary(math.cosine),
    "divide": _binary(math.divide),
    "dot": _product,
    "dot_general": _product,
    "exponential": _unary(math.exponential),
    "exponential_minus_one": _unary(math.exponential_minus_one),
    "fft": _fft,
    "imag": lambda to, op: to.of(op.operands[0]).im,
    "iota": _iota,
    "log": _unary(math.log),
    "logistic": _unary(math.logistic),
    "maximum": _binary(math.maximum),
    "minimum": _binary(math.minimum),
    "multiply": _binary(math.multiply),
    "negate": _unary(math.negate),
    "power": _binary(math.power),
    "real": lambda to, op: to.of(op.operands[0]).re,
    "reduce": _reduce,
    "reduce_window": _reduce_window,
    "rsqrt": _unary(math.rsqrt),
    "select": _select,
    "sign": _unary(math.sign),
    "sine": _unary(math.sine),
    "sqrt": _unary(math.root),
    "subtract": _binary(math.subtract),
    "tan": _unary(math.tan),
    "tanh": _unary(math.tanh),
}
"""By the name of the operation, without its dialect."""
