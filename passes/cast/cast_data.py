"""What a choice of casts may look at: the weights' files, and sample inputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from axonc.weights.references import WeightRef

Sample = Mapping[str, np.ndarray]
"""One call's inputs, by argument name."""


@dataclass(frozen=True)
class CastData:
    """What casts may look at besides the program."""

    weights: Mapping[str, WeightRef] = field(default_factory=dict)
    """By argument name."""
    samples: tuple[Sample, ...] = ()
    """Inputs the program is likely to see."""
