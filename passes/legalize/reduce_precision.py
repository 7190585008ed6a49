"""Rounding to fewer bits of exponent and mantissa: part of `legalize-to-neuron`.

By integer arithmetic on the bits, as XLA defines it: the mantissa to nearest even, whatever the
exponent; then magnitudes from the first power of two beyond the exponent's range on become
infinite, and those below its smallest normal number zero. A rounding that carries runs over into
the exponent, which is the next number, or infinity. NaN stays what it is.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch_mlir import ir

from axonc.dialects.attributes import element_name
from axonc.dialects.neuron import builder as build
from axonc.passes.graph.fold_constants import fold
from axonc.passes.legalize.bitcast import same_width, width_of


@dataclass(frozen=True)
class Precision:
    """Bits of a floating-point format beside the sign."""

    exponent: int
    mantissa: int

    @property
    def bias(self) -> int:
        return int(2 ** (self.exponent - 1)) - 1


FORMATS = {"f32": Precision(8, 23), "bf16": Precision(8, 7), "f16": Precision(5, 10)}


def reduce_precision(op: ir.Operation) -> ir.Value:
    x, kind = op.operands[0], op.results[0].type
    own = FORMATS[element_name(kind)]
    names = ("exponent_bits", "mantissa_bits")
    asked = Precision(*(ir.IntegerAttr(op.attributes[n]).value for n in names))
    if own == FORMATS["f32"] and asked == FORMATS["bf16"]:
        return build.convert(build.convert(x, ir.BF16Type.get()), kind.element_type)
    if asked.exponent >= own.exponent and asked.mantissa >= own.mantissa:
        return x
    return _Reduction(x, own).to(asked)


class _Reduction:
    """x, of the format `own`, as 32-bit words."""

    def __init__(self, x: ir.Value, own: Precision) -> None:
        self.x, self.own = x, own
        natural = ir.IntegerType.get_unsigned(width_of(x.type.element_type))
        self.narrow = natural
        word = build.convert(same_width(x, natural), ir.IntegerType.get_unsigned(32))
        self.word = fold(word)
        self.kind = self.word.type
        self.sign = 1 << (own.exponent + own.mantissa)

    def to(self, asked: Precision) -> ir.Value:
        word = self._rounded(asked) if asked.mantissa < self.own.mantissa else self.word
        if asked.exponent < self.own.exponent:
            word = self._limited(word, asked)
        found = same_width(fold(build.convert(word, self.narrow)), self.x.type.element_type)
        is_nan = build.compare(self.x, self.x, "NE")
        return build.create("select", (is_nan, self.x, found), self.x.type)

    def _rounded(self, asked: Precision) -> ir.Value:
        """Half of the last unit that stays is added, less one where that unit is even."""
        dropped = self.own.mantissa - asked.mantissa
        unit = self._masked(self._do("shift_right_logical", self.word, dropped), 1)
        bias = self._do("add", unit, (1 << (dropped - 1)) - 1)
        whole = self._do("add", self.word, bias)
        return self._masked(whole, (self.sign * 2 - 1) ^ ((1 << dropped) - 1))

    def _limited(self, word: ir.Value, asked: Precision) -> ir.Value:
        places = self.own.mantissa
        exponent = self._masked(word, self._exponents())
        largest = (self.own.bias + asked.bias) << places
        smallest = (self.own.bias - asked.bias) << places
        too_large = build.compare(exponent, self._constant(largest), "GT")
        too_small = build.compare(exponent, self._constant(smallest), "LE")
        infinity = self._do("or", self._masked(word, self.sign), self._exponents())
        zero = self._masked(word, self.sign)
        bounded = build.create("select", (too_large, infinity, word), self.kind)
        return build.create("select", (too_small, zero, bounded), self.kind)

    def _exponents(self) -> int:
        """All bits of the exponent: infinity."""
        return self.sign - (1 << self.own.mantissa)

    def _masked(self, word: ir.Value, mask: int) -> ir.Value:
        return self._do("and", word, mask)

    def _do(self, name: str, word: ir.Value, other: ir.Value | int) -> ir.Value:
        value = self._constant(other) if isinstance(other, int) else other
        return fold(build.create(name, (word, value), self.kind))

    def _constant(self, number: int) -> ir.Value:
        return build.splat_constant(number, self.kind)
