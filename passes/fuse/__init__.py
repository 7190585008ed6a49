"""What is computed in one go, and in which blocks."""
