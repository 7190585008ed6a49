"""The module of one block: its operations, with arguments for what it reads and results for what
others read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from torch_mlir import ir

from axonc.dialects.attributes import integer
from axonc.dialects.neuron.argument_names import ALIAS, BLOCK, CONTROL, NAME, PLACE, WEIGHT
from axonc.passes.blocks import MADE
from axonc.passes.graph.copies import Values, copy_operations, rename


@dataclass(frozen=True)
class Argument:
    """An argument of the program, by number."""

    number: int


@dataclass(frozen=True)
class Output:
    """A result of the program, by number."""

    number: int


@dataclass(frozen=True)
class Place:
    """A tensor in device memory through which blocks hand on values."""

    name: str
    kind: ir.Type


Home = Argument | Place
Assignment = tuple[ir.Value, Place | Output]

_CHEAP = frozenset(f"stablehlo.{name}" for name in ("constant", "iota"))
_RELABELS = frozenset(
    f"stablehlo.{name}" for name in ("broadcast_in_dim", "reshape", "convert", "transpose")
)


class BlockWriter:
    """Makes the modules of the blocks of one program. main: its main function."""

    def __init__(self, module: ir.Module, main: ir.Operation) -> None:
        self.module, self.main = module, main
        self.arguments = list(main.regions[0].blocks[0].arguments)
        results = list(main.regions[0].blocks[0].operations)[-1].operands
        self.argument_attributes = _dictionaries(main, "arg_attrs", len(self.arguments))
        self.result_attributes = _dictionaries(main, "res_attrs", len(results))

    def is_cheap(self, value: ir.Value) -> bool:
        """Whether every block makes the value anew: it follows from constants alone."""
        owner = value.owner
        if isinstance(owner, ir.Block):
            return False
        op = owner.operation
        if op.name in _CHEAP:
            return True
        return op.name in _RELABELS and all(self.is_cheap(v) for v in op.operands)

    def write(
        self,
        run: Sequence[ir.Operation],
        assigned: Sequence[Assignment],
        control: ir.Value | None,
        homes: Mapping[ir.Value, Home],
        is_first: bool,
    ) -> ir.Module:
        """The module of a block that runs `run` and assigns. control: what it hands to the
        sequencers. homes: of values made elsewhere. is_first: it takes all inputs of the
        program, that they are not forgotten."""
        results = [v for v, _ in assigned] + ([control] if control is not None else [])
        read = self._read(run, results)
        made = [value for value in read if self.is_cheap(value)]
        inputs: dict[Home, list[ir.Value]] = {}
        if is_first:
            inputs = {Argument(n): [] for n in self._inputs()}
        for value in read:
            if value not in made:
                inputs.setdefault(homes[value], []).append(value)
        module, function = self._function(inputs, results)
        block = function.regions[0].blocks[0]
        values: Values = {}
        for argument, same in zip(block.arguments, inputs.values(), strict=True):
            values.update(dict.fromkeys(same, argument))
        with ir.InsertionPoint(block):
            for value in made:
                _copy_tree(value, values)
            copy_operations(run, values)
            returned = [values[v] for v in results]
            with self.main.location:
                ir.Operation.create("func.return", [], returned)
        self._describe(function, list(inputs), [home for _, home in assigned], control is not None)
        return module

    def _inputs(self) -> Iterator[int]:
        """Numbers of the arguments that are no weights."""
        return (n for n, given in enumerate(self.argument_attributes) if WEIGHT not in given)

    @staticmethod
    def _read(run: Sequence[ir.Operation], results: Sequence[ir.Value]) -> list[ir.Value]:
        """Values from elsewhere, in the order in which they are first read."""
        inner: set[ir.Value] = set()
        read: dict[ir.Value, None] = {}

        def visit(op: ir.Operation) -> ir.WalkResult:
            inner.update(op.results)
            for region in op.regions:
                for block in region.blocks:
                    inner.update(block.arguments)
            read.update(dict.fromkeys(op.operands))
            return ir.WalkResult.ADVANCE

        for op in run:
            op.walk(visit, ir.WalkOrder.PRE_ORDER)
        read.update(dict.fromkeys(results))
        return [value for value in read if value not in inner]

    def _function(
        self, inputs: Mapping[Home, object], results: Sequence[ir.Value]
    ) -> tuple[ir.Module, ir.Operation]:
        """A module like the program's, with an empty `@main`, and the other functions."""
        kinds = [self._type(home) for home in inputs]
        location = self.main.location
        module = ir.Module.create(location)
        for name in self.module.operation.attributes:
            module.operation.attributes[name] = self.module.operation.attributes[name]
        module.operation.attributes[BLOCK] = ir.UnitAttr.get()
        signature = ir.FunctionType.get(kinds, [v.type for v in results])
        attributes = {
            "sym_name": ir.StringAttr.get("main"),
            "function_type": ir.TypeAttr.get(signature),
        }
        with ir.InsertionPoint(module.body):
            function = ir.Operation.create("func.func", [], [], attributes, regions=1, loc=location)
            for each in self.module.body.operations:
                if each.operation != self.main:
                    each.operation.clone()
        function.regions[0].blocks.append(*kinds, arg_locs=[location] * len(kinds))
        return module, function

    def _type(self, home: Home) -> ir.Type:
        return home.kind if isinstance(home, Place) else self.arguments[home.number].type

    # ---- what arguments and results are called

    def _describe(
        self,
        function: ir.Operation,
        inputs: Sequence[Home],
        homes: Sequence[Place | Output],
        has_control: bool,
    ) -> None:
        numbers = {home: number for number, home in enumerate(homes)}
        arguments = [self._argument(home, numbers) for home in inputs]
        results = [self._result(home) for home in homes]
        if has_control:
            named = {NAME: ir.StringAttr.get("control"), CONTROL: ir.UnitAttr.get()}
            results.append(ir.DictAttr.get(named))
        function.attributes["arg_attrs"] = ir.ArrayAttr.get(arguments)
        function.attributes["res_attrs"] = ir.ArrayAttr.get(results)

    def _argument(self, home: Home, numbers: Mapping[Place | Output, int]) -> ir.DictAttr:
        if isinstance(home, Argument):
            given = dict(self.argument_attributes[home.number])
            given.setdefault(NAME, ir.StringAttr.get(f"arg{home.number}"))
            return ir.DictAttr.get({k: v for k, v in given.items() if k != ALIAS})
        attributes: dict[str, ir.Attribute] = {NAME: ir.StringAttr.get(home.name)}
        if home in numbers:
            attributes[ALIAS] = integer(numbers[home])
            attributes[PLACE] = ir.UnitAttr.get()
        return ir.DictAttr.get(attributes)

    def _result(self, home: Place | Output) -> ir.DictAttr:
        if isinstance(home, Place):
            return ir.DictAttr.get({NAME: ir.StringAttr.get(home.name + MADE)})
        given = dict(self.result_attributes[home.number])
        given.setdefault(NAME, ir.StringAttr.get(f"result{home.number}"))
        return ir.DictAttr.get(given)


def _dictionaries(function: ir.Operation, which: str, count: int) -> list[dict[str, ir.Attribute]]:
    if which not in function.attributes:
        return [{} for _ in range(count)]
    given = ir.ArrayAttr(function.attributes[which])
    return [{a.name: a.attr for a in ir.DictAttr(each)} for each in given]


def _copy_tree(value: ir.Value, values: Values) -> None:
    """A copy of a cheap value, with what it is made from."""
    op = value.owner.operation
    for operand in op.operands:
        if operand not in values:
            _copy_tree(operand, values)
    if value not in values:
        copy = op.clone().operation
        rename(copy, values)
        values[value] = copy.results[0]
