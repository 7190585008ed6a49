"""StableHLO to StableHLO: calls, blocks, control flow and integers made ready."""
