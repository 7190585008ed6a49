"""Names of the attributes that arguments, results and modules carry. No MLIR in here."""

NAME = "neuron.name"
"""Of an argument or result: what the user calls it."""

WEIGHT = "neuron.weight"
"""Of an argument: it is a weight, bound when the program is compiled."""

HOST_DTYPE = "neuron.host_dtype"
"""Of an argument or result: its element type as the host has it, where the machine's differs."""

INFINITE = "neuron.infinite"
"""Of an argument that is a weight: it holds infinities or NaN, as far as that is known."""

ALIAS = "neuron.alias"
"""Of an argument: the number of the result that takes its place in memory."""

CORES = "neuron.cores"
"""Of a module: how many cores run it (absent: as many as it has partitions or replicas)."""

PARTS = "neuron.parts"
"""Of an argument of `@main`: for every core the number of the part that it holds."""

RANDOM_KEY = "axonc.random_key"
"""Name of the argument that random numbers are drawn from: two ui32, the seed and the number of the
call, which the host gives."""
