"""Neuron to neuron: small operations become the one they spell."""
