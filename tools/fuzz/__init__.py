"""Random valid programs, and near-misses of what rewriting rules look for, against XLA:CPU.

A program is data (`program`), drawn with typed constructors (`graph`, `draw`, `near_misses`). One
table (`operations`) says of each operation how it is written and what error it adds. The program is
written twice: as it is for axonc, and for XLA:CPU in float64 beside a bound of the error of every
element (`reference`), which comes from what docs/reference/numerics.md promises.
"""
