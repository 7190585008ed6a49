"""Names of the 8-bit formats and of the ways to scale them: for option lists, without numpy."""

FORMAT_NAMES = ("fp8_e4m3", "fp8_e5m2", "fp8_e3m4", "int8")
"""Those of `quantize.FORMATS`, in its order."""

SCALE_OPTIONS = ("auto", "channel", "tensor")
"""A scale per output channel, one per tensor, or what suits the format."""
