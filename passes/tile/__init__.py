"""Neuron to ntile: tensors become tiles and instructions on them."""
