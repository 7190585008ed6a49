"""axonc."""
