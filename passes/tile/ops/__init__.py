"""How each family of operations is tiled."""
