"""Discrete Fourier transforms as matrix products, on pairs of reals.

A length of up to 128 is one product with its matrix. A longer one that is a product a * b is that
of two shorter ones (Cooley and Tukey): with n = n1 b + n2 and k = k1 + k2 a, transforms of length a
over n1, factors exp(-2 pi i n2 k1 / n), transforms of length b over n2. A prime beyond 128 is a
convolution with a chirp, exp(i pi n^2 / p), by transforms of a power of two (Bluestein). Matrices
and factors are rounded from float64, their angles reduced as integers.
"""

from __future__ import annotations

import numpy as np
from torch_mlir import ir

from axonc.passes.prepare import words
from axonc.passes.prepare.expand import complex_math as math
from axonc.passes.prepare.expand.complex_math import Complex

LONGEST_PRODUCT = 128
"""Rows and columns of the largest matrix: the tensor engine's own size."""


def transform(x: Complex, *, is_real: bool = False, inverse: bool = False) -> Complex:
    """Along the last dim; is_real: the imaginary parts are 0. The inverse is not divided by the
    length."""
    n = x.re.type.shape[-1]
    if n <= LONGEST_PRODUCT:
        return _product(x, _roots(n, inverse), is_real=is_real)
    factor = _factor(n)
    if factor == n:
        return _chirped(x, n, inverse)
    return _factored(x, factor, n // factor, is_real=is_real, inverse=inverse)


def _factor(n: int) -> int:
    """The largest factor of n up to LONGEST_PRODUCT; else the smallest one there is."""
    small = [f for f in range(2, LONGEST_PRODUCT + 1) if n % f == 0]
    return max(small) if small else n


def _turns(numbers: np.ndarray, n: int, inverse: bool) -> np.ndarray:
    """exp(-2 pi i numbers / n), or its conjugate."""
    angles = 2 * np.pi * (numbers % n) / n
    return np.exp(1j * angles if inverse else -1j * angles)


def _roots(n: int, inverse: bool) -> np.ndarray:
    places = np.arange(n)
    return _turns(np.outer(places, places), n, inverse)


def _constant(array: np.ndarray) -> Complex:
    parts = (np.asarray(a, np.float32) for a in (array.real, array.imag))
    re, im = (words.constant(p, words.f32()) for p in parts)
    return Complex(re, im)


def _product(x: Complex, matrix: np.ndarray, *, is_real: bool) -> Complex:
    """The last dim of x with the first of a matrix."""
    other = _constant(matrix)
    by_re, by_im = (_dot(x.re, m) for m in other.parts)
    if is_real:
        return Complex(by_re, by_im)
    re = words.subtract(by_re, _dot(x.im, other.im))
    return Complex(re, words.add(by_im, _dot(x.im, other.re)))


def _dot(x: ir.Value, matrix: ir.Value) -> ir.Value:
    rank = len(x.type.shape)
    numbers = ir.Attribute.parse(
        f"#stablehlo.dot<lhs_contracting_dimensions = [{rank - 1}], "
        "rhs_contracting_dimensions = [0]>"
    )
    kind = ir.RankedTensorType.get([*x.type.shape[:-1], matrix.type.shape[1]], words.f32())
    return words.create("dot_general", (x, matrix), kind, {"dot_dimension_numbers": numbers})


def _swapped(x: Complex) -> Complex:
    """The last two dims exchanged."""
    rank = len(x.re.type.shape)
    order = [*range(rank - 2), rank - 1, rank - 2]
    return x.each(lambda part: words.transpose(part, order))


def _reshaped(x: Complex, shape: list[int]) -> Complex:
    return x.each(lambda part: words.reshape(part, shape))


def _factored(x: Complex, a: int, b: int, *, is_real: bool, inverse: bool) -> Complex:
    """n = n1 b + n2: rows n1, columns n2."""
    batch = list(x.re.type.shape[:-1])
    grid = _swapped(_reshaped(x, [*batch, a, b]))  # [n2, n1]
    first = transform(grid, is_real=is_real, inverse=inverse)  # [n2, k1]
    twist = _constant(_turns(np.outer(np.arange(b), np.arange(a)), a * b, inverse))
    spread = twist.each(
        lambda part: words.broadcast(part, [*batch, b, a], [len(batch), len(batch) + 1])
    )
    turned = _swapped(math.multiply(first, spread))  # [k1, n2]
    second = _swapped(transform(turned, inverse=inverse))  # [k2, k1]
    return _reshaped(second, [*batch, a * b])


def _chirped(x: Complex, n: int, inverse: bool) -> Complex:
    """n k = (n^2 + k^2 - (k - n)^2) / 2, so: x times a chirp, convolved with the conjugate of that,
    times it."""
    size = 1 << (2 * n - 2).bit_length()
    batch = list(x.re.type.shape[:-1])
    chirp = _turns(np.arange(n) ** 2, 2 * n, inverse)
    kernel = np.zeros(size, complex)
    kernel[:n] = chirp.conj()
    kernel[size - n + 1 :] = chirp[1:][::-1].conj()
    spread = _spread(chirp, [*batch, n])
    given = math.multiply(x, spread).each(lambda part: _padded(part, size - n))
    product = math.multiply(transform(given), _spread(np.fft.fft(kernel) / size, [*batch, size]))
    found = transform(product, inverse=True)
    kept = found.each(lambda part: words.slice_along(part, len(batch), 0, n))
    return math.multiply(kept, spread)


def _spread(vector: np.ndarray, shape: list[int]) -> Complex:
    last = len(shape) - 1
    return _constant(vector).each(lambda part: words.broadcast(part, shape, [last]))


def _padded(x: ir.Value, count: int) -> ir.Value:
    """Zeros behind the last dim."""
    shape = list(x.type.shape)
    zeros = words.filled(0.0, ir.RankedTensorType.get([*shape[:-1], count], words.f32()))
    return words.concatenate([x, zeros], len(shape) - 1)


# ---- stablehlo.fft -------------------------------------------------------------------------


def fft(x: Complex, kind: str, lengths: list[int], *, is_real: bool) -> Complex:
    """FFT, IFFT, RFFT or IRFFT over the last dims, of these lengths; the result of IRFFT has no
    imaginary parts."""
    rank, inverse = len(x.re.type.shape), kind in ("IFFT", "IRFFT")
    dims = list(range(rank - len(lengths), rank))
    if kind == "IRFFT":
        for dim in dims[:-1]:
            x = _along(x, dim, inverse=True)
        x = transform(_mirrored(x, lengths[-1]), inverse=True)
    else:
        for dim in reversed(dims):
            x = _along(x, dim, is_real=is_real, inverse=inverse)
            is_real = False
            if kind == "RFFT" and dim == rank - 1:
                x = x.each(lambda p: words.slice_along(p, rank - 1, 0, lengths[-1] // 2 + 1))
    return math.scaled(x, 1 / int(np.prod(lengths))) if inverse else x


def _along(x: Complex, dim: int, *, is_real: bool = False, inverse: bool = False) -> Complex:
    rank = len(x.re.type.shape)
    order = [d for d in range(rank) if d != dim] + [dim]
    moved = x.each(lambda part: words.transpose(part, order))
    found = transform(moved, is_real=is_real, inverse=inverse)
    return found.each(lambda part: words.transpose(part, [order.index(d) for d in range(rank)]))


def _mirrored(x: Complex, n: int) -> Complex:
    """All n frequencies of a real signal from the first n // 2 + 1: the others are conjugates. The
    imaginary parts of those that are their own conjugates count for nothing."""
    last = len(x.re.type.shape) - 1
    x = x.each(lambda part: words.slice_along(part, last, 0, n // 2 + 1))
    own = np.ones(n // 2 + 1, np.float32)
    own[0] = 0
    if n % 2 == 0:
        own[-1] = 0
    mask = words.broadcast(words.constant(own, words.f32()), x.re.type.shape, [last])
    x = Complex(x.re, words.multiply(x.im, mask))
    count = n - n // 2 - 1
    if not count:
        return x
    tail = x.each(lambda part: words.reverse(words.slice_along(part, last, 1, 1 + count), last))
    parts = zip(x.parts, (tail.re, math.negated(tail.im)), strict=True)
    re, im = (words.concatenate(pair, last) for pair in parts)
    return Complex(re, im)
