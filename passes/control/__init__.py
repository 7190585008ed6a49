"""From control flow in StableHLO to straight-line blocks."""
