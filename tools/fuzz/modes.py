"""How a program is compiled, and what that may round."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from axonc.tools.fuzz.bounds import Rounding
from axonc.tools.fuzz.program import Program

_BF16 = 2.0**-8


@dataclass(frozen=True)
class Mode:
    """One way to compile and run."""

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)
    """Of `axonc.compile`."""
    rounding: Rounding = Rounding()
    share: float = 1.0
    """How often it is drawn, beside the others."""
    binds_weights: bool = False
    """Whether inputs that are weights are bound when compiling."""
    has_state: bool = False
    """Whether an input is state that a result takes the place of."""
    sbuf_kib: int = 0
    """Per partition, if less than the machine has: then little crowds it."""
    layers: int = 1
    """How often the program is repeated, each time on what the last gave."""


MODES = {
    mode.name: mode
    for mode in (
        Mode("default", share=4),
        Mode("flat", {"optlevel": 3}),
        Mode("weights", binds_weights=True),
        Mode("exact-transposes", {"exact_transposes": True}, share=0.5),
        Mode("bf16-products", {"auto_cast": "matmult"}, Rounding(products=_BF16)),
        Mode("bf16-all", {"auto_cast": "all"}, Rounding(_BF16, _BF16)),
        Mode("layers", layers=3),
        Mode("state", has_state=True),
        Mode("small-memory", sbuf_kib=8),
        Mode("two-cores-tensor", {"cores": 2, "parallel": "tensor"}, binds_weights=True, share=0.7),
        Mode("two-cores-data", {"cores": 2, "parallel": "data"}, share=0.7),
        Mode(
            "two-cores-pipeline",
            {"cores": 2, "parallel": "pipeline"},
            binds_weights=True,
            layers=3,
            share=0.5,
        ),
    )
}
"""By name. Every mode runs checked and fast, each within the bounds."""


def state_pair(program: Program) -> dict[str, str]:
    """The first input that a result may take the place of, and that result, by the names they get
    when imported; empty if there is none."""
    for number, place in enumerate(program.inputs):
        node = program.nodes[place]
        for index, result in enumerate(program.results):
            if program.nodes[result].kind == node.kind and result != place:
                return {f"arg{number}": f"result{index}"}
    return {}
