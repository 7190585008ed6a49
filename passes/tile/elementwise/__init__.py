"""Elementwise expressions as instructions of the vector, scalar and GpSimd engines."""
