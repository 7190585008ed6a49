"""The neuron dialect: tensors with value semantics, rules, builders, reference evaluators."""
