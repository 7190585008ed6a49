"""axonc: an open compiler for NeuronCores that needs no NeuronCore."""

__version__ = "0.1.0"
