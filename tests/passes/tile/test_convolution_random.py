"""Seeded random convolutions and pools through the whole pipeline, run in checked mode, against
XLA:CPU."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import axonc
from axonc.passes.tile.ops import convolution, convolution_kernel, pool, strips
from axonc.passes.tile.ops.convolution_geometry import boxes
from axonc.passes.tile.ops.convolution_input import StackedImage

FEATURES = (1, 2, 3, 5, 8, 31, 33, 64, 65, 128, 129, 150)
TOLERANCE = {"float32": 2e-6, "bfloat16": 2e-2}
"""Largest error over the largest value: sums of up to 150 x 27 products; results in bf16."""


def seeds(quick: int) -> list[object]:
    slow = [pytest.param(seed, marks=pytest.mark.slow) for seed in range(quick, 10 * quick)]
    return [*range(quick), *slow]


@dataclass(frozen=True)
class Case:
    """image, kernel: shapes in the orders of `numbers`. options: of conv_general_dilated."""

    image: tuple[int, ...]
    kernel: tuple[int, ...]
    options: dict[str, Any]
    dtype: str
    is_weight: bool


def random_case(seed: int) -> Case:
    rnd = random.Random(seed)
    rank = rnd.choice([1, 1, 2, 2, 2, 3])
    groups = rnd.choice([1, 1, 1, 1, 2, 3, 8])
    is_depthwise = rnd.random() < 0.15
    inputs = 1 if is_depthwise else rnd.choice(FEATURES)
    groups = rnd.choice(FEATURES) if is_depthwise else min(groups, max(1, 200 // inputs))
    outputs = groups * rnd.choice([1, 1, 2, 3, 4]) if groups > 1 else rnd.choice(FEATURES)
    batch_groups = 1
    if groups == 1 and rnd.random() < 0.1:
        batch_groups, outputs = 2, 2 * outputs
    spatial = [rnd.randint(1, {1: 40, 2: 14, 3: 6}[rank]) for _ in range(rank)]
    window = [rnd.randint(1, 4) for _ in range(rank)]
    pads = [(rnd.randint(-1, 3), rnd.randint(-1, 3)) for _ in range(rank)]
    options = {
        "window_strides": [rnd.choice([1, 1, 2, 3]) for _ in range(rank)],
        "padding": [
            (max(low, 1 - size), high) for (low, high), size in zip(pads, spatial, strict=True)
        ],
        "lhs_dilation": [rnd.choice([1, 1, 1, 2, 3]) for _ in range(rank)],
        "rhs_dilation": [rnd.choice([1, 1, 1, 2]) for _ in range(rank)],
        "feature_group_count": groups,
        "batch_group_count": batch_groups,
    }
    batch = rnd.choice([1, 1, 2, 3]) * batch_groups
    letters = "DHW"[3 - rank :]
    orders = ["".join(rnd.sample(x + letters, rank + 2)) for x in ("NC", "OI", "NC")]
    sizes = dict(zip(letters, spatial, strict=True)) | {"N": batch, "C": inputs * groups}
    taps = dict(zip(letters, window, strict=True)) | {"O": outputs, "I": inputs}
    return Case(
        tuple(sizes[c] for c in orders[0]),
        tuple(taps[c] for c in orders[1]),
        {**options, "dimension_numbers": tuple(orders)},
        rnd.choice(["float32", "float32", "float32", "bfloat16"]),
        rnd.random() < 0.6,
    )


def run(
    function: Any, arrays: dict[str, Any], weights: dict[str, Any], oracle: Any = None
) -> list[Any]:
    """[(found, expected)] of every result; `weights`: some of the arrays. oracle: the function for
    XLA:CPU."""
    lowered = jax.jit(function).lower(**arrays)
    executable = axonc.compile(lowered, weights=weights or None)
    inputs = {t.name: arrays[t.name] for t in executable.inputs}
    found = executable.run(inputs, checked=True)
    expected = jax.tree.leaves(jax.jit(oracle or function)(**arrays))
    return [
        (f.astype(np.float64), np.asarray(e).astype(np.float64))
        for f, e in zip(found, expected, strict=True)
    ]


def assert_close(found: Any, expected: Any, dtype: str) -> None:
    assert found.shape == expected.shape
    scale = np.abs(expected).max(initial=1e-9)
    np.testing.assert_allclose(found, expected, rtol=0, atol=TOLERANCE[dtype] * scale)


@pytest.mark.parametrize("seed", seeds(14))
def test_a_random_convolution(seed: int) -> None:
    case = random_case(seed)
    rng = np.random.default_rng(seed)
    image, kernel = (
        np.asarray(jnp.asarray(rng.standard_normal(shape), case.dtype))
        for shape in (case.image, case.kernel)
    )
    arrays = {"image": image, "kernel": kernel}

    def function(image: Any, kernel: Any) -> Any:
        return jax.lax.conv_general_dilated(image, kernel, **case.options)

    def padded_first(image: Any, kernel: Any) -> Any:
        """XLA:CPU reads beyond an image that it cuts itself (negative padding)."""
        low_high = dict(zip(spatial, case.options["padding"], strict=True))
        between = dict(zip(spatial, case.options["lhs_dilation"], strict=True))
        edges = [(*low_high.get(c, (0, 0)), between.get(c, 1) - 1) for c in numbers[0]]
        image = jax.lax.pad(image, np.zeros((), image.dtype), edges)
        plain = {"padding": [(0, 0)] * len(spatial), "lhs_dilation": None}
        return jax.lax.conv_general_dilated(image, kernel, **{**case.options, **plain})

    numbers = case.options["dimension_numbers"]
    spatial = [c for c in numbers[1] if c not in "OI"]
    weights = {"kernel": kernel} if case.is_weight else {}
    ((found, expected),) = run(function, arrays, weights, padded_first)
    assert_close(found, expected, case.dtype)


@pytest.fixture
def tiny_sbuf(monkeypatch: pytest.MonkeyPatch) -> None:
    """Images are in strips of a few rows, kernels in blocks of 32 output features."""
    for module in (convolution, pool):
        monkeypatch.setattr(module, "RESIDENT_BYTES", 0)
    monkeypatch.setattr(strips, "STRIP_BYTES", 60)
    for module in (convolution, convolution_kernel):
        monkeypatch.setattr(module, "LARGE_KERNEL_BYTES", 0)


@pytest.mark.parametrize("seed", seeds(14))
@pytest.mark.usefixtures("tiny_sbuf")
def test_a_random_convolution_in_strips(seed: int) -> None:
    test_a_random_convolution(seed)


@pytest.mark.parametrize("features", [3, 40])
@pytest.mark.usefixtures("tiny_sbuf")
def test_epilogues_in_strips(features: int, monkeypatch: pytest.MonkeyPatch) -> None:
    test_epilogues_and_stacked_kernel_elements(features, monkeypatch)


def test_long_kernels_over_few_features() -> None:
    """Kernel elements fill the partitions, in parts that are added."""
    rng = np.random.default_rng(3)
    for image, kernel, options in (
        ((2, 1, 700), (33, 1, 300), {"window_strides": (4,), "padding": [(7, 9)]}),
        ((1, 3, 9, 400), (5, 3, 2, 101), {"window_strides": (1, 2), "padding": "SAME"}),
        ((1, 2, 500), (130, 2, 90), {"window_strides": (1,), "padding": "VALID",
                                     "rhs_dilation": (3,)}),
    ):  # fmt: skip
        arrays = {"image": rng.standard_normal(image), "kernel": rng.standard_normal(kernel)}
        arrays = {name: array.astype(np.float32) for name, array in arrays.items()}

        def function(image: Any, kernel: Any, options: dict[str, Any] = options) -> Any:
            return jax.lax.conv_general_dilated(image, kernel, **options)

        ((found, expected),) = run(function, arrays, {})
        assert_close(found, expected, "float32")


@pytest.mark.parametrize("seed", seeds(6))
def test_a_random_pool(seed: int) -> None:
    rnd, rng = random.Random(seed), np.random.default_rng(seed)
    rank = rnd.choice([1, 2, 3, 4])
    shape = [rnd.randint(1, 9) for _ in range(rank)]
    window = [rnd.choice([1, 1, 2, 3, 5]) for _ in range(rank)]
    name, neutral = rnd.choice(
        [("max", -np.inf), ("min", np.inf), ("add", 0.0), ("mul", 1.0), ("add", 2.5)]
    )
    pads = (0, 1, 2, 3) if neutral != 2.5 else (0,)  # XLA:CPU does not pad with initial values
    options = {
        "window_dimensions": window,
        "window_strides": [rnd.choice([1, 1, 2, 3]) for _ in range(rank)],
        "padding": [(rnd.choice(pads), rnd.choice(pads)) for _ in range(rank)],
        "base_dilation": [rnd.choice([1, 1, 1, 2]) if any(pads) else 1 for _ in range(rank)],
        "window_dilation": [rnd.choice([1, 1, 2]) for _ in range(rank)],
    }
    x = rng.standard_normal(shape).astype(np.float32)

    def function(x: Any) -> Any:
        return jax.lax.reduce_window(x, neutral, getattr(jax.lax, name), **options)

    ((found, expected),) = run(function, {"x": x}, {})
    np.testing.assert_allclose(found, expected, rtol=2e-6, atol=2e-6)


@pytest.mark.parametrize("seed", seeds(6))
@pytest.mark.usefixtures("tiny_sbuf")
def test_a_random_pool_in_strips(seed: int) -> None:
    test_a_random_pool(seed)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "int32"])
def test_windows_of_integers(dtype: str) -> None:
    x = np.random.default_rng(0).integers(0, 100, (3, 12)).astype(dtype)

    def function(x: Any) -> Any:
        low = np.array(np.iinfo(dtype).min, dtype)
        around = [(0, 0), (1, 1)]
        highest = jax.lax.reduce_window(x, low, jax.lax.max, (1, 3), (1, 2), around)
        return highest, jax.lax.reduce_window(x, np.array(0, dtype), jax.lax.add, (2, 3), (1, 1),
                                              "SAME")  # fmt: skip

    for found, expected in run(function, {"x": x}, {}):
        np.testing.assert_array_equal(found, expected)


def epilogued(image: Any, kernel: Any, scale: Any, shift: Any, other: Any) -> Any:
    """As after a batch norm in a residual block; two images, the second one strided."""
    numbers = ("NHWC", "HWIO", "NHWC")
    one, two = (
        jax.lax.conv_general_dilated(x, kernel, (2, 2), [(3, 3), (3, 3)], dimension_numbers=numbers)
        for x in (image, image * 2)
    )
    return jnp.maximum(one * scale + shift + other, 0), jnp.tanh(two * 0.01)


@pytest.mark.parametrize("features", [3, 40])
def test_epilogues_and_stacked_kernel_elements(
    features: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An image of few features comes from device memory in strips, kernel elements stacked on the
    partitions; one that was computed lies in SBUF."""
    opened = []
    whole = StackedImage.open
    monkeypatch.setattr(
        StackedImage, "open", lambda self, strip: (opened.append(strip), whole(self, strip))
    )
    rng = np.random.default_rng(1)
    shapes = {
        "image": (2, 70, 30, features), "kernel": (7, 7, features, 20), "scale": (20,),
        "shift": (20,), "other": (2, 35, 15, 20),
    }  # fmt: skip
    arrays = {n: rng.standard_normal(s).astype(np.float32) for n, s in shapes.items()}
    weights = {n: arrays[n] for n in ("kernel", "scale", "shift")}
    for found, expected in run(epilogued, arrays, weights):
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * np.abs(expected).max())
    assert bool(opened) == (features == 3)


def test_boxes_cover_every_output_once_within_their_limits() -> None:
    for ranges, limit, dims in (
        (((0, 1), (0, 56), (0, 56)), 512, 4),
        (((0, 3), (2, 9), (0, 5), (0, 4)), 30, 4),
        (((0, 2), (0, 3), (0, 2), (0, 2), (0, 3)), 512, 4),
        (((0, 1), (0, 2), (0, 1100)), 512, 4),
    ):
        seen: dict[tuple[int, ...], int] = {}
        for box in boxes(ranges, limit, dims):
            assert box.count <= limit and sum(n > 1 for n in box.sizes) <= dims
            for index in np.ndindex(*box.sizes):
                place = tuple(i + r[0] for i, r in zip(index, box.ranges, strict=True))
                seen[place] = seen.get(place, 0) + 1
        assert set(seen.values()) == {1}
        assert len(seen) == np.prod([stop - start for start, stop in ranges])
