"""Recognition of activation functions of one value: shared by `recognize-gelu` and `recognize-
silu`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch_mlir import ir

from axonc.dialects.neuron import builder as build
from axonc.dialects.neuron.ops import (
    ELEMENTWISE_OPS,
    ConvertOp,
    DivideOp,
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
from axonc.passes.recognize.cone import Cone, Dominators, find_cone

_ROOTS = frozenset({MultiplyOp, DivideOp, ConvertOp})
_SIGNS = frozenset({ErfOp, ExpOp, TanhOp, LogisticOp})
"""An activation contains one of these; anything else is not worth probing."""

_CHAIN = 4
TOLERANCE = 1e-6
"""Largest |difference| / max(1, |x|): an erfc expanded to float32 polynomials differs by 3e-7."""

_PROBES = np.concatenate(
    [np.linspace(-14.0, 14.0, 449), np.array([-40.0, -25.0, 25.0, 40.0, 1e-3, -1e-3, 1e-6])]
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
        cone = find_cone(root, (source,), ELEMENTWISE_OPS)
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
    with np.errstate(all="ignore"):
        found = cone.evaluate({cone.sources[0]: _PROBES}, elementwise=True)
        for name in names:
            expected = ELEMENTWISE[name].function(_PROBES)
            if np.all(np.abs(found - expected) <= TOLERANCE * np.maximum(1, np.abs(_PROBES))):
                return name
    return ""
