"""Many matmuls as one product."""
