"""Recognition of activation functions of one value: shared by `recognize-gelu` and
`recognize-silu`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch_mlir import ir

from axonc.dialects.neuron import builder as build
from axonc.dialects.neuron.ops import (
    ConvertOp,
    DivideOp,
    ErfcOp,
    ErfOp,
    ExpOp,
    LogisticOp,
    MultiplyOp,
    TanhOp,
    kind_of,
)
from axonc.dialects.neuron.table import ELEMENTWISE
from axonc.passes.graph.rewrite import redirect
from axonc.passes.graph.uses import erase_dead
from axonc.passes.recognize.cone import ACTIVATION_OPS, Cone, Dominators, find_cone

_ROOTS = frozenset({MultiplyOp, DivideOp, ConvertOp})
_SIGNS = frozenset({ErfOp, ErfcOp, ExpOp, TanhOp, LogisticOp})
"""An activation contains one of these; anything else is not worth probing."""

_CHAIN = 4
TOLERANCE = 1e-6
"""Largest |difference| / max(1, |x|): constants are given in float32."""

_LARGE = np.array([-1e30, -1e4, -200.0, -90.0, -40.0, 40.0, 90.0, 200.0, 1e4, 1e30], np.float32)
"""Where float32 overflows on the way in forms that are right in real numbers only."""

_PROBES = np.concatenate(
    [np.linspace(-14.0, 14.0, 449), _LARGE[2:-2], np.array([1e-3, -1e-3, 1e-6])]
)


def recognize_activations(function: ir.Operation, names: Sequence[str]) -> bool:
    """Replace every cone that computes one of the neuron operations `names`; whether there was
    one."""
    block = function.regions[0].blocks[0]
    dominators = Dominators(block)
    known: dict[str, str] = {}
    changed = False
    for op in [o for o in block.operations if kind_of(o) in _ROOTS]:
        if match := _match(op, dominators, names, known):
            name, source = match
            with ir.InsertionPoint(op):
                new = build.create(name, (source,), op.results[0].type, None, op.location)
            redirect(op.results, [new])
            changed = True
    return erase_dead(block) or changed


def _match(
    op: ir.Operation, dominators: Dominators, names: Sequence[str], known: dict[str, str]
) -> tuple[str, ir.Value] | None:
    """(operation, its operand) the value is equal to."""
    root = op.results[0]
    for source in dominators.chain(root, _CHAIN):
        if source.type != root.type:
            continue
        cone = find_cone(root, (source,), ACTIVATION_OPS)
        if cone is None:
            return None  # a longer one holds the same operation that is not allowed
        if not cone.contains(_SIGNS):
            continue
        key = cone.key()
        if key not in known:
            known[key] = _meaning(cone, names)
        if known[key]:
            return known[key], source
    return None


def _meaning(cone: Cone, names: Sequence[str]) -> str:
    """The function the cone computes, "" for none of them."""
    source = cone.sources[0]
    with np.errstate(all="ignore"):
        found = list(cone.evaluate({source: _PROBES}, elementwise=True))
        for name in names:
            function = ELEMENTWISE[name].function
            if found and all(_agree(f, function(_PROBES), _PROBES) for f in found):
                large = list(cone.evaluate({source: _LARGE}, elementwise=True, f64=False))
                is_safe = all(_agree(f, function(_LARGE), _LARGE) for f in large)
                return name if is_safe else ""
    return ""


def _agree(found: np.ndarray, expected: np.ndarray, x: np.ndarray) -> bool:
    return bool(np.all(np.abs(found - expected) <= TOLERANCE * np.maximum(1, np.abs(x))))
