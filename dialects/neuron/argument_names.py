"""Names of the attributes that arguments, results, loops and modules carry. No MLIR in here."""

NAME = "neuron.name"
"""Attribute of an argument or result: what the user calls it."""

WEIGHT = "neuron.weight"
"""Attribute of an argument that is a weight, bound when the program is compiled."""

HOST_DTYPE = "neuron.host_dtype"
"""Attribute of an argument or result: the host's element type, where the machine's differs."""

INFINITE = "neuron.infinite"
"""Attribute of a weight that holds infinities or NaN, as far as that is known."""

ALIAS = "neuron.alias"
"""Attribute of an argument: the number of the result that takes its place in memory."""

CORES = "neuron.cores"
"""Attribute of a module: how many cores run it (absent: its partitions or replicas)."""

PARTS = "neuron.parts"
"""Attribute of an argument of `@main`: by core, the number of the part that it holds."""

RANDOM_KEY = "axonc.random_key"
"""Name of the argument that random numbers are drawn from: two ui32, the seed and the number of the
call, which the host gives."""

BLOCK = "neuron.block"
"""Of a module: it is one straight-line block of a program with control flow."""

PLACE = "neuron.place"
"""Of an argument of a block: the result that `neuron.alias` names has to lie in its memory when the
block ends."""

CONTROL = "neuron.control"
"""Of a result of a block: the sequencers branch by it."""

COUNT = "neuron.count"
"""Of a loop of StableHLO that stays a loop: how often its body runs, where that is known."""
