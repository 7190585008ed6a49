"""Builds functions of the neuron dialect as text, op by op, beside the numpy result each op should
have; compiles them from layouts to instruction streams; runs those in checked mode.

Expected values are computed in float64 (integers in their own type) by the caller, who states the
numpy meaning next to the op: this file knows no op's semantics.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from torch_mlir import ir

from axonc.backends.executor.machine import Machine
from axonc.backends.program import Program, TensorKind
from axonc.backends.targets import TARGETS
from axonc.context import make_context, parse_module
from axonc.dialects.attributes import NUMPY_DTYPES
from axonc.dialects.ntile.program import TileProgram
from axonc.passes.layout.choose_layouts import choose_layouts
from axonc.passes.lower.lower import lower
from axonc.passes.lower.lowered_state import pack
from axonc.passes.memory.allocate_memory import allocate_memory
from axonc.passes.schedule.assign_engines import assign_engines
from axonc.passes.schedule.schedule import schedule
from axonc.passes.tile.tile import tile

FLOATS = ("f32", "bf16", "f16")


def tensor_type(shape: Sequence[int], element: str) -> str:
    return "tensor<" + "".join(f"{size}x" for size in shape) + element + ">"


@dataclass(frozen=True)
class Value:
    """name: in the text. array: the expected value."""

    name: str
    array: np.ndarray
    element: str

    @property
    def type(self) -> str:
        return tensor_type(self.array.shape, self.element)


def expected_dtype(element: str) -> np.dtype:
    return np.dtype(np.float64) if element in FLOATS else NUMPY_DTYPES[element]


class Region:
    """The body of a fused op or an epilogue: a DAG of elementwise ops."""

    def __init__(self, arguments: Sequence[Value], shape: Sequence[int], prefix: str) -> None:
        self.shape = tuple(shape)
        self.prefix = prefix
        self.lines: list[str] = []
        self.arguments = [
            Value(f"%{prefix}a{i}", a.array, a.element) for i, a in enumerate(arguments)
        ]

    def op(
        self,
        name: str,
        operands: Sequence[Value],
        expected: np.ndarray,
        element: str | None = None,
        attributes: str = "",
    ) -> Value:
        """One op; `expected` has the region's shape."""
        element = element or operands[0].element
        array = np.asarray(expected).astype(expected_dtype(element))
        value = Value(f"%{self.prefix}v{len(self.lines)}", array, element)
        names = ", ".join(v.name for v in operands)
        kinds = ", ".join(v.type for v in operands)
        self.lines.append(
            f'{value.name} = "neuron.{name}"({names}) {{{attributes}}} : ({kinds}) -> {value.type}'
        )
        return value

    def constant(self, number: float, element: str = "f32") -> Value:
        kind = tensor_type(self.shape, element)
        text = _number_text(number, element)
        array = np.full(self.shape, np.array(number).astype(NUMPY_DTYPES[element]))
        return self.op("constant", (), array, element, f"value = dense<{text}> : {kind}")

    def compare(self, direction: str, a: Value, b: Value) -> Value:
        functions = {"EQ": "equal", "NE": "not_equal", "LT": "less", "LE": "less_equal"}
        functions |= {"GT": "greater", "GE": "greater_equal"}
        expected = getattr(np, functions[direction])(a.array, b.array)
        return self.op("compare", (a, b), expected, "i1", f'direction = "{direction}"')

    def broadcast(self, value: Value, dims: Sequence[int]) -> Value:
        shape = [1] * len(self.shape)
        for dim, target in enumerate(dims):
            shape[target] = value.array.shape[dim]
        array = np.broadcast_to(value.array.reshape(shape), self.shape)
        return self.op("broadcast", (value,), array, attributes=f"dims = {list(dims)}")

    def text(self, result: Value) -> str:
        heads = ", ".join(f"{a.name}: {a.type}" for a in self.arguments)
        end = f'"neuron.yield"({result.name}) : ({result.type}) -> ()'
        return "({ ^bb0(" + heads + "):\n" + "\n".join([*self.lines, end]) + "\n})"


def _number_text(number: float, element: str) -> str:
    if element not in FLOATS:
        return str(int(number)) if element != "i1" else str(bool(number)).lower()
    if np.isfinite(number):
        return f"{number:.9e}"
    dtype = NUMPY_DTYPES[element]
    bits = np.array(number).astype(dtype).view(f"u{dtype.itemsize}")
    return f"0x{int(bits):0{2 * dtype.itemsize}X}"


@dataclass
class Graph:
    """A function under construction."""

    lines: list[str] = field(default_factory=list)
    inputs: list[tuple[Value, bool]] = field(default_factory=list)

    def input(self, array: np.ndarray, element: str = "f32", weight: bool = False) -> Value:
        stored = np.asarray(array).astype(NUMPY_DTYPES[element])
        value = Value(f"%in{len(self.inputs)}", stored.astype(expected_dtype(element)), element)
        self.inputs.append((value, weight))
        return value

    def op(
        self,
        name: str,
        operands: Sequence[Value],
        expected: np.ndarray,
        attributes: str = "",
        region: str = "",
        element: str | None = None,
    ) -> Value:
        element = element or operands[0].element
        array = np.asarray(expected)
        value = Value(f"%v{len(self.lines)}", array, element)
        names = ", ".join(v.name for v in operands)
        kinds = ", ".join(v.type for v in operands)
        self.lines.append(
            f'{value.name} = "neuron.{name}"({names}) {region} {{{attributes}}}'
            f" : ({kinds}) -> {value.type}"
        )
        return value

    def fused(
        self,
        operands: Sequence[Value],
        shape: Sequence[int],
        body: Callable[[Region], Value],
    ) -> Value:
        region = Region(operands, shape, f"r{len(self.lines)}_")
        result = body(region)
        return self.op(
            "fused", operands, result.array, region=region.text(result), element=result.element
        )

    def unary(self, name: str, x: Value, expected: np.ndarray) -> Value:
        return self.fused([x], x.array.shape, lambda r: r.op(name, r.arguments, expected))

    def constant(self, number: float, element: str = "f32") -> Value:
        kind = tensor_type((), element)
        text = f"value = dense<{_number_text(number, element)}> : {kind}"
        return self.op("constant", (), np.array(number), text, element=element)

    def text(self, results: Sequence[Value]) -> str:
        heads = ", ".join(
            f'{v.name}: {v.type} {{neuron.name = "{v.name[1:]}"'
            f"{', neuron.weight' if weight else ''}}}"
            for v, weight in self.inputs
        )
        kinds = ", ".join(f'{v.type} {{neuron.name = "out{i}"}}' for i, v in enumerate(results))
        names = ", ".join(v.name for v in results)
        types = ", ".join(v.type for v in results)
        body = "\n".join(self.lines)
        return f"func.func @main({heads}) -> ({kinds}) {{\n{body}\nreturn {names} : {types}\n}}"


def tile_text(text: str, target: str = "inf2") -> TileProgram:
    """Layouts, tiles and engines; no addresses yet."""
    with make_context() as context, ir.Location.unknown():
        module = parse_module(text, context)
        function = module.body.operations[0].operation
        choose_layouts(function, TARGETS[target])
        program = tile(function, TARGETS[target])
    assign_engines(program)
    return program


def compile_text(text: str, target: str = "inf2") -> Program:
    program = tile_text(text, target)
    plan = allocate_memory(program)
    streams = lower(program, schedule(program))
    return pack(program, streams, plan.sbuf_peak_bytes)


def mnemonics(graph: Graph, *results: Value) -> list[str]:
    """The compute instructions of a graph, in order; transfers and fills are left out."""
    steps = [s for op in tile_text(graph.text(results)).ops for s in op.form.steps]
    names = [s.spec.mnemonic for s in steps]
    return [name for name in names if name not in ("dma_copy", "memset", "load_stationary")]


def run(graph: Graph, *results: Value, mode: str = "checked") -> list[np.ndarray]:
    """What the instruction streams give for the graph's inputs."""
    program = compile_text(graph.text(results))
    machine = Machine(program, mode=mode)  # type: ignore[arg-type]
    arrays = {v.name[1:]: v.array for v, _ in graph.inputs}
    weights, inputs = {}, {}
    for tensor in program.tensors:
        if tensor.kind is TensorKind.WEIGHT:
            array = arrays[tensor.source]
            packed = tensor.packing.apply(array, tensor.dtype) if tensor.packing else array
            weights[tensor.name] = packed.astype(tensor.dtype.numpy)
        elif tensor.kind is TensorKind.INPUT:
            inputs[tensor.name] = arrays[tensor.name].astype(tensor.dtype.numpy)
    machine.load_weights(weights)
    outputs = machine.run(inputs)
    return [outputs[f"out{i}"] for i in range(len(results))]


TOLERANCE = {"f32": 2e-5, "bf16": 2e-2, "f16": 3e-3}
"""Error allowed, as a fraction of the largest expected magnitude."""


def check(graph: Graph, *results: Value, tolerance: float | None = None) -> None:
    """Runs the graph and compares: integers and booleans exactly, floats within TOLERANCE; NaN and
    infinities must be where they are expected."""
    for value, found in zip(results, run(graph, *results), strict=True):
        expected = value.array
        assert found.shape == expected.shape
        if value.element not in FLOATS:
            np.testing.assert_array_equal(found.astype(expected.dtype), expected)
            continue
        wide = found.astype(np.float64)
        finite = np.isfinite(expected)
        np.testing.assert_array_equal(wide[~finite], expected[~finite])
        size = np.abs(expected[finite]).max(initial=1e-6)
        limit = (tolerance or TOLERANCE[value.element]) * size
        np.testing.assert_allclose(wide[finite], expected[finite], rtol=0, atol=limit)
