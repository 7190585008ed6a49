"""StableHLO to the neuron dialect: one pass, one file for each family of rules."""
