"""Adds arguments to a function for weights that are derived from others."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch_mlir import ir

from axonc.backends.numerics.quantize import QuantizedFormat
from axonc.dialects.neuron import builder as build
from axonc.dialects.neuron.argument_names import NAME, WEIGHT
from axonc.passes.cast.weight_operands import WeightOperand
from axonc.weights.derived import Derivation

_Key = tuple[str, str, str, tuple[int, ...]]


@dataclass
class DerivedArguments:
    """Arguments made so far for `function`, each once."""

    function: ir.Operation
    _made: dict[_Key, tuple[Derivation, ir.Value]] = field(default_factory=dict)

    def get(
        self, weight: WeightOperand, part: str, kind: QuantizedFormat, kept: tuple[int, ...]
    ) -> ir.Value:
        """The argument with the numbers, or the scales, of a weight; see `Derivation`."""
        key = (weight.name, part, kind.name, kept)
        if key not in self._made:
            rule = Derivation(self._name(key), weight.name, part, kind.name, kept)
            shape = rule.shape(build.shape_of(weight.argument))
            block = self.function.regions[0].blocks[0]
            type_ = build.tensor(shape, ir.Type.parse(rule.dtype))
            self._made[key] = (rule, block.add_argument(type_, weight.argument.location))
        return self._made[key][1]

    def _name(self, key: _Key) -> str:
        """Unique, the same in every compile."""
        weight, part, kind, _ = key
        number = sum(other[:3] == key[:3] for other in self._made)
        suffix = f".{number}" if number else ""
        return f"{weight}:{kind}{':scale' if part == 'scales' else ''}{suffix}"

    def finish(self) -> list[Derivation]:
        """Write the function's type and the names of the new arguments; how to derive them."""
        if not self._made:
            return []
        function, block = self.function, self.function.regions[0].blocks[0]
        old = ir.FunctionType(ir.TypeAttr(function.attributes["function_type"]).value)
        kinds = [argument.type for argument in block.arguments]
        function.attributes["function_type"] = ir.TypeAttr.get(
            ir.FunctionType.get(kinds, old.results)
        )
        rules = [rule for rule, _ in self._made.values()]
        attributes = [*ir.ArrayAttr(function.attributes["arg_attrs"]), *map(_attributes, rules)]
        function.attributes["arg_attrs"] = ir.ArrayAttr.get(attributes)
        return rules


def _attributes(rule: Derivation) -> ir.DictAttr:
    return ir.DictAttr.get({NAME: ir.StringAttr.get(rule.name), WEIGHT: ir.UnitAttr.get()})
