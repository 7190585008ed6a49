"""The functions of ScalarE: one table, from name to code, valid input range and table set.

ScalarE evaluates piece-wise polynomials from tables it loads by set (`act_table_load`); outside a
function's valid range the result is garbage. Source of names and ranges: machine.md#scalar-engine
(nki/api/nki.api.shared.rst, "Supported Activation Functions"). Four set names are published
(machine.md#scalar-engine, NEFF Activation.json); which function lies in which set, and the codes,
are assumed. `prelu` is left out: its slope has no place in the `activation` instruction.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

Interval = tuple[float, float]

EVERYWHERE: tuple[Interval, ...] = ((-math.inf, math.inf),)

ANY_SET = ""
"""`table_set` of functions that need no table: they are in every set (assumed)."""


@dataclass(frozen=True)
class ActivationFunction:
    """A function that the activation engine evaluates."""

    name: str
    code: int
    """Its number in the encoding."""
    nki_name: str
    """What `nki.language` calls it."""
    summary: str
    table_set: str = ANY_SET
    """The set of tables that must be loaded; ANY_SET: none."""
    valid: tuple[Interval, ...] = EVERYWHERE
    """Closed intervals of the argument where the result is defined."""
    source: str = "nki.api.shared.rst"


_EXP_LOG = "natural_log_exp_and_others"
_GELU = "gelu_and_others"
_RSQRT = "reciprocal_sqrt_and_small"
_RECIPROCAL = "reciprocal_and_small"
_SIGMOID = "sigmoid_and_others"  # set name assumed
_TRIGONOMETRY = "trigonometric_and_others"  # set name assumed

_F = ActivationFunction
ACTIVATION_FUNCTIONS: tuple[ActivationFunction, ...] = (
    _F("copy", 0, "copy", "x"),
    _F("square", 1, "square", "x * x"),
    _F("relu", 2, "relu", "max(x, 0)"),
    _F("abs", 3, "abs", "|x|"),
    _F("sign", 4, "sign", "-1, 0 or 1"),
    _F("exp", 5, "exp", "e^x", _EXP_LOG),
    _F("log", 6, "log", "natural logarithm", _EXP_LOG, ((2.0**-64, 2.0**64),)),
    _F("softplus", 7, "softplus", "log(1 + e^x)", _EXP_LOG),
    _F("mish", 8, "mish", "x * tanh(softplus(x))", _EXP_LOG),
    _F("sigmoid", 9, "sigmoid", "1 / (1 + e^-x)", _SIGMOID),
    _F("silu", 10, "silu", "x * sigmoid(x)", _SIGMOID),
    _F("silu_dx", 11, "silu_dx", "derivative of silu", _SIGMOID),
    _F("tanh", 12, "tanh", "hyperbolic tangent", _SIGMOID),
    _F("gelu", 13, "gelu", "x / 2 * (1 + erf(x / sqrt(2)))", _GELU),
    _F("gelu_dx", 14, "gelu_dx", "derivative of gelu", _GELU),
    _F(
        "gelu_tanh",
        15,
        "gelu_apprx_tanh",
        "x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3)))",
        _GELU,
    ),
    _F("gelu_sigmoid", 16, "gelu_apprx_sigmoid", "x * sigmoid(1.702 x)", _GELU),
    _F(
        "gelu_sigmoid_dx",
        17,
        "gelu_apprx_sigmoid_dx",
        "derivative of gelu_sigmoid",
        _GELU,
    ),
    _F("erf", 18, "erf", "error function", _GELU),
    _F("erf_dx", 19, "erf_dx", "2 / sqrt(pi) * e^(-x^2)", _GELU),
    _F("sqrt", 20, "sqrt", "square root", _RSQRT, ((2.0**-116, 2.0**118),)),
    _F("rsqrt", 21, "rsqrt", "1 / sqrt(x)", _RSQRT, ((2.0**-87, 2.0**97),)),
    _F(
        "reciprocal",
        22,
        "reciprocal",
        "1 / x",
        _RECIPROCAL,
        ((-(2.0**42), -(2.0**-42)), (2.0**-42, 2.0**42)),
    ),
    _F("sin", 23, "sin", "sine, no range reduction", _TRIGONOMETRY, ((-math.pi, math.pi),)),
    _F("arctan", 24, "arctan", "arc tangent", _TRIGONOMETRY, ((-math.pi / 2, math.pi / 2),)),
)

ACTIVATION_BY_NAME: dict[str, ActivationFunction] = {f.name: f for f in ACTIVATION_FUNCTIONS}
ACTIVATION_BY_CODE: dict[int, ActivationFunction] = {f.code: f for f in ACTIVATION_FUNCTIONS}

TABLE_SETS: tuple[str, ...] = tuple(sorted({f.table_set for f in ACTIVATION_FUNCTIONS} - {ANY_SET}))
"""Names of the table sets; the operand of `act_table_load` is an index into this."""
