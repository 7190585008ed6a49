"""Where every buffer of a tile program lies."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class MemoryPlan:
    """What `allocate_memory` found: bytes per partition (SBUF, PSUM) and in device memory."""

    sbuf_peak_bytes: int = 0
    """Most bytes alive at once, in program order."""
    sbuf_extent_bytes: int = 0
    """Past the highest address used; buffers are spread over spare room so that the schedule can
    run ahead."""
    psum_peak_bytes: int = 0
    hbm_bytes: int = 0
    pools: dict[str, int] = field(default_factory=dict)
