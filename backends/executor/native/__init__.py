"""Machine code for hot loops, generated as MLIR and run by its execution engine."""
