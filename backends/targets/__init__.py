"""The machines axonc knows, by name."""

from dataclasses import replace

from axonc.backends.targets.inf2 import INF2
from axonc.backends.targets.target import Engine as Engine
from axonc.backends.targets.target import Target as Target

TARGETS: dict[str, Target] = {
    "inf2": INF2,
    "trn1": replace(INF2, name="trn1"),  # the same NeuronCore-v2 (hardware.md 1.2)
}
