"""Neuron to neuron: the same meaning in fewer operations."""
