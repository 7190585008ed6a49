"""The machines axonc knows, by name."""

from dataclasses import replace

from axonc.backends.targets.inf2 import CORES_PER_CHIP, INF2
from axonc.backends.targets.target import Engine as Engine
from axonc.backends.targets.target import Target as Target
from axonc.backends.targets.topology import Instance
from axonc.diagnostics import UsageError, nearest

TRN1_LINK_BYTES_PER_NS = 384.0 / 4  # machine.md#instances-and-links: 384 GB/s per chip over 4 links

TARGETS: dict[str, Target] = {
    "inf2": INF2,
    "trn1": replace(  # the same NeuronCore-v2 (machine.md#the-chip)
        INF2,
        name="trn1",
        instances=(
            Instance("trn1.2xlarge", (1,), CORES_PER_CHIP, TRN1_LINK_BYTES_PER_NS),
            # 1.2: a 4x4 torus; chip 0 beside 12, 3, 4 and 1
            Instance("trn1.32xlarge", (4, 4), CORES_PER_CHIP, TRN1_LINK_BYTES_PER_NS),
        ),
    ),
}


def find_target(name: str) -> Target:
    """Raises UsageError for an unknown name."""
    if name not in TARGETS:
        known = nearest(name, TARGETS) or f"known: {', '.join(TARGETS)}"
        raise UsageError(f"there is no target '{name}'", hint=known)
    return TARGETS[name]
