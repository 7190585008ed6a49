"""The compiled program and its file."""
