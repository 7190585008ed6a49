"""Weights by reference: where they lie, and those derived from them."""
