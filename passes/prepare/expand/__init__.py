"""StableHLO -> StableHLO: types and algorithms that the machine lacks, in simpler operations."""
