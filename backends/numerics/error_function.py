"""erf of float32 arrays, without scipy.

|x| <= 0.92: x + x * P(x^2); above: 1 - exp(L(|x|)) with L a polynomial close to log(erfc). Both
polynomials are weighted least-squares fits to `math.erf` and `math.erfc`, reweighted towards the
largest error. Measured: at most 8e-8 absolute and 1.3 units in the last place over 3 million points
(tests/backends/numerics/test_error_function.py).
"""

from __future__ import annotations

import numpy as np

_SPLIT = np.float32(0.92)
_ONE_FROM_HERE = np.float32(4.0)  # 1 - erf(4) = 1.5e-8 rounds to 0 in float32

_SMALL = (  # (erf(x) / x - 1) in powers of x^2, lowest first
    0.12837916612625122,
    -0.37612631916999817,
    0.11283676326274872,
    -0.026858346536755562,
    0.0051984661258757114,
    -0.0008114080992527306,
    8.25111783342436e-05,
)
_LOG_ERFC = (  # log(erfc(x)) in powers of x on [0.9, 4], lowest first
    0.00017055145872291178,
    -1.1294951438903809,
    -0.6333866715431213,
    -0.10823661088943481,
    0.025091491639614105,
    -0.004160524811595678,
    0.000432302535045892,
    -2.090951420541387e-05,
)


def erf(x: np.ndarray) -> np.ndarray:
    """Error function of a float32 array; odd, NaN for NaN, exactly +-1 beyond 4."""
    magnitude = np.minimum(np.abs(x), _ONE_FROM_HERE)
    large = polynomial(_LOG_ERFC, magnitude)
    np.exp(large, out=large)
    np.subtract(np.float32(1), large, out=large)
    small = polynomial(_SMALL, magnitude * magnitude)
    small *= magnitude
    small += magnitude
    np.copyto(small, large, where=magnitude > _SPLIT)
    return np.copysign(small, x, out=small)


def polynomial(coefficients: tuple[float, ...], x: np.ndarray) -> np.ndarray:
    """Horner's rule in float32; coefficients from the lowest power up, at least two."""
    result = x * np.float32(coefficients[-1])
    for coefficient in coefficients[-2:0:-1]:
        result += np.float32(coefficient)
        result *= x
    result += np.float32(coefficients[0])
    return result
