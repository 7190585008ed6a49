"""Questions and tools about neuron graphs, which every tensor stage may use."""
