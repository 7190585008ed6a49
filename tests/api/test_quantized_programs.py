"""Programs with 8-bit weights and activations, run as instruction streams in checked mode, against
numpy in float64 on numbers quantised by ml_dtypes."""

from __future__ import annotations

import json
import zipfile
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

import axonc
from axonc.weights.references import WeightRef

FLOATS = {
    "fp8_e4m3": (ml_dtypes.float8_e4m3, 240.0),
    "fp8_e5m2": (ml_dtypes.float8_e5m2, 57344.0),
    "fp8_e3m4": (ml_dtypes.float8_e3m4, 15.5),
}
FORMATS = (*FLOATS, "int8")
RNG = np.random.default_rng(7)
X = RNG.standard_normal((24, 160)).astype(np.float32)
W = (RNG.standard_normal((160, 200)) * np.geomspace(0.01, 10, 200)).astype(np.float32)
BIAS = RNG.standard_normal(200).astype(np.float32)


def rounded(array: np.ndarray, kind: str) -> np.ndarray:
    """In the format, by ml_dtypes or by rounding; no scale."""
    if kind == "int8":
        return np.clip(np.rint(array), -127, 127).astype(np.float64)
    dtype, limit = FLOATS[kind]
    return np.clip(array, -limit, limit).astype(dtype).astype(np.float64)


def as_stored(w: np.ndarray, kind: str, axis: int | None) -> np.ndarray:
    """The values 8-bit numbers of `w` stand for; axis: the one summed over, None for one scale."""
    limit = 127.0 if kind == "int8" else FLOATS[kind][1]
    scale = np.abs(w).max(axis=axis, keepdims=axis is not None).astype(np.float32)
    scale = scale / np.float32(limit)
    return rounded(w / scale, kind) * scale


def bf16(array: np.ndarray) -> np.ndarray:
    return array.astype(ml_dtypes.bfloat16).astype(np.float64)


def error(found: np.ndarray, expected: np.ndarray) -> float:
    return float(np.abs(found - expected).max() / np.abs(expected).max())


def lower(function: Any, *shapes: Any) -> Any:
    return jax.jit(function).lower(*shapes)


def shape(*sizes: int) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(sizes, jnp.float32)


def dense(params: dict[str, jax.Array], x: jax.Array) -> jax.Array:
    return x @ params["w"] + params["b"]


DENSE = lower(dense, {"w": shape(160, 200), "b": shape(200)}, shape(24, 160))
WEIGHTS = {"w": W, "b": BIAS}


@pytest.mark.parametrize("scale", ["channel", "tensor"])
@pytest.mark.parametrize("compute", ["none", "bf16", "tf32", "fp16"])
@pytest.mark.parametrize("kind", FORMATS)
def test_weights_in_8_bits(kind: str, compute: str, scale: str) -> None:
    casts: dict[str, Any] = {"auto_cast": "none"}
    if compute != "none":
        casts = {"auto_cast": "matmult", "auto_cast_type": compute}
    executable = axonc.compile(
        DENSE, weights=WEIGHTS, weight_dtype=kind, weight_scale=scale, **casts
    )
    (found,) = executable.run(X, checked=True)
    left = {"bf16": bf16(X), "fp16": X.astype(np.float16).astype(np.float64)}.get(compute, X)
    expected = left @ as_stored(W, kind, 0 if scale == "channel" else None) + BIAS
    assert error(found, expected) < (1e-3 if compute == "tf32" else 2e-6)


def test_weights_are_read_in_8_bits() -> None:
    read = {}
    for kind in ("none", "fp8_e4m3", "int8"):
        executable = axonc.compile(DENSE, weights=WEIGHTS, auto_cast="matmult", weight_dtype=kind)
        packed = max(
            (t for t in executable.compiled.program.tensors if t.packing),
            key=lambda t: t.size_bytes,
        )
        read[kind] = packed.size_bytes
        assert executable.profile().hbm_bytes_read >= X.nbytes + packed.size_bytes
    assert read["fp8_e4m3"] == read["int8"] == read["none"] / 2


def through_views(params: dict[str, jax.Array], x: jax.Array) -> jax.Array:
    """Layer 1 of stacked [3, out, in] weights, its outputs as heads."""
    w = params["w"][1].reshape(8, 25, 160)
    return jnp.einsum("ti,hdi->htd", x, w)


@pytest.mark.parametrize("kind", ["fp8_e3m4", "int8"])
def test_scales_follow_slices_transposes_and_reshapes(kind: str) -> None:
    stacked = np.stack([W.T * 100, W.T, W.T * 0.01])
    program = lower(through_views, {"w": shape(3, 200, 160)}, shape(24, 160))
    executable = axonc.compile(program, weights={"w": stacked}, weight_dtype=kind)
    (found,) = executable.run(X, checked=True)
    stored = as_stored(W.T, kind, 1).reshape(8, 25, 160)
    assert error(found, np.einsum("ti,hdi->htd", X.astype(np.float64), stored)) < 2e-6


def tied(params: dict[str, jax.Array], ids: jax.Array) -> jax.Array:
    """A table read by rows, and as the matrix of logits."""
    rows = jnp.take(params["table"], ids, axis=0, mode="clip")
    return jnp.tanh(rows) @ params["table"].T


@pytest.mark.parametrize("scale", ["channel", "tensor"])
@pytest.mark.parametrize("kind", FORMATS)
def test_tables_scale_rows_after_the_gather(kind: str, scale: str) -> None:
    table = (W.T[:, :128] * np.geomspace(0.1, 10, 200)[:, None]).astype(np.float32)
    ids = np.array([[3, 0, 199], [42, 42, 7]], np.int32)
    program = lower(tied, {"table": shape(200, 128)}, jax.ShapeDtypeStruct((2, 3), jnp.int32))
    executable = axonc.compile(
        program, weights={"table": table}, weight_dtype=kind, weight_scale=scale
    )
    assert len([w for w in executable.compiled.weights if ":" in w]) == 2, "one copy for both"
    (found,) = executable.run(ids, checked=True)
    stored = as_stored(table, kind, 1 if scale == "channel" else None)
    assert error(found, np.tanh(stored[ids]) @ stored.T) < 1e-5


# ---- activations ---------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", FLOATS)
def test_activations_saturate_and_never_overflow(kind: str) -> None:
    x = X.copy()
    x[0, :4] = [1e30, -1e30, 500.0, 16.0]
    executable = axonc.compile(
        DENSE, weights=WEIGHTS, auto_cast="matmult", auto_cast_type=kind, weight_scale="tensor"
    )
    (found,) = executable.run(x, checked=True)
    expected = rounded(x, kind) @ as_stored(W, kind, None) + BIAS
    assert np.isfinite(found).all()
    assert error(found, expected) < 2e-6


@pytest.mark.parametrize("kind", FLOATS)
def test_calibrated_activations_use_the_whole_range(kind: str) -> None:
    seen = {"x": np.stack([X * 0.01, X * 0.02])}
    executable = axonc.compile(
        DENSE,
        weights=WEIGHTS,
        auto_cast="matmult",
        auto_cast_type=kind,
        weight_scale="tensor",
        calibrate=seen,
    )
    scale = np.float32(np.abs(seen["x"]).max()) / np.float32(FLOATS[kind][1])
    for x in (X * 0.015, X):  # the second is beyond what was seen, and saturates
        (found,) = executable.run(x.astype(np.float32), checked=True)
        expected = rounded(x / scale, kind) * scale @ as_stored(W, kind, None) + BIAS
        # 1 / scale is multiplied by: numbers at a tie may go either way.
        assert error(found, expected) < 2e-3
        assert np.isfinite(found).all()


def attention(q: jax.Array, k: jax.Array) -> jax.Array:
    return jax.nn.softmax(q @ k.T, axis=-1) @ k


def test_known_ranges_need_no_samples() -> None:
    """Softmax is at most 1: its numbers use the format's range, so small ones survive."""
    q, k = X[:, :32] * 0.1, X[:24, :32]
    executable = axonc.compile(
        lower(attention, shape(24, 32), shape(24, 32)), auto_cast="matmult",
        auto_cast_type="fp8_e3m4",
    )  # fmt: skip
    (found,) = executable.run(q, k, checked=True)
    assert error(found, np.asarray(attention(q, k))) < 0.05


# ---- what is decided -----------------------------------------------------------------------------


def two(params: dict[str, jax.Array], x: jax.Array) -> jax.Array:
    with jax.named_scope("first"):
        x = jnp.tanh(x @ params["a"])
    with jax.named_scope("second"):
        return x @ params["b"]


TWO = lower(two, {"a": shape(160, 96), "b": shape(96, 64)}, shape(24, 160))
TWO_WEIGHTS = {"a": W[:, :96] / 10, "b": W[:96, 100:164]}


def targets(executable: axonc.Executable) -> list[str]:
    report = executable.compiled.cast_report
    assert report is not None
    return [row.target for row in report.rows]


@pytest.mark.parametrize(
    "overrides, expected",
    [
        (("first=fp32",), ["bf16/fp8_e4m3"]),
        (("params.b=bf16",), ["bf16/fp8_e4m3", "bf16"]),
        ((r"neuron\.dot=tf32", "second=int8"), ["tf32", "bf16/int8"]),
        (("first=fp16/fp8_e3m4",), ["fp16/fp8_e3m4", "bf16/fp8_e4m3"]),
        (("second=fp8_e5m2",), ["bf16/fp8_e4m3", "fp8_e5m2"]),
    ],
)
def test_overrides(overrides: tuple[str, ...], expected: list[str]) -> None:
    executable = axonc.compile(
        TWO,
        weights=TWO_WEIGHTS,
        auto_cast="matmult",
        weight_dtype="fp8_e4m3",
        auto_cast_override=overrides,
    )
    assert targets(executable) == expected
    (found,) = executable.run(X, checked=True)
    exact = np.tanh(X.astype(np.float64) @ TWO_WEIGHTS["a"]) @ TWO_WEIGHTS["b"]
    assert error(found, exact) < 0.2


def test_overrides_in_a_program_that_is_cast_as_a_whole() -> None:
    executable = axonc.compile(
        TWO, weights=TWO_WEIGHTS, auto_cast="all", auto_cast_override=["first/tanh=fp32"]
    )
    lines = "\n".join(executable.compiled.casts)
    assert "neuron.tanh" not in lines and "neuron.dot" in lines
    (found,) = executable.run(X, checked=True)
    exact = np.tanh(X.astype(np.float64) @ TWO_WEIGHTS["a"]) @ TWO_WEIGHTS["b"]
    assert error(found, exact) < 0.02


@pytest.mark.parametrize(
    "options, message",
    [
        ({"auto_cast_override": ["frist=bf16"]}, "override 'frist=bf16' matches no operation"),
        ({"auto_cast_override": ["bf16"]}, "not of the form REGEX=TYPE"),
        ({"auto_cast_override": ["(=bf16"]}, "bad regular expression"),
        ({"auto_cast_override": ["a=fp8"]}, "type 'fp8' does not exist"),
        ({"auto_cast_override": ["a=int8/int8"]}, "compute type 'int8' does not exist"),
        ({"weight_dtype": "fp8_e4m4"}, "weight-dtype is 'fp8_e4m4'"),
        ({"weight_scale": "row"}, "weight-scale is 'row'"),
        ({"auto_cast_budget": 0.99}, "needs sample inputs"),
        ({"auto_cast_budget": 99}, "auto-cast-budget is 99"),
        ({"auto_cast_budget": 0.9, "auto_cast": "all", "calibrate": {"x": X}}, "matrix products"),
        ({"calibrate": {"y": X}}, "no input 'y'"),
        ({"calibrate": {"x": X[:3]}}, "or a stack of them"),
        ({"calibrate": {"x": X.astype(np.float64)}}, "wanted: x"),
    ],
)  # fmt: skip
def test_mistakes_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(axonc.UsageError, match=message.replace("(", r"\(")):
        axonc.compile(TWO, weights=TWO_WEIGHTS, **options)


def test_a_weight_with_an_infinity_is_refused_by_name() -> None:
    bad = W.copy()
    bad[3, 3] = np.inf
    with pytest.raises(axonc.UsageError, match=r"weight 'params\.w' cannot be stored as int8"):
        axonc.compile(DENSE, weights={"w": bad, "b": BIAS}, weight_dtype="int8").run(X)


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.vdot(a, b) / np.linalg.norm(a) / np.linalg.norm(b))


@pytest.mark.parametrize("budget", [0.9999999, 0.9999, 0.99])
def test_a_search_keeps_its_budget_on_the_machine(budget: float) -> None:
    executable = axonc.compile(
        TWO, weights=TWO_WEIGHTS, auto_cast_budget=budget, calibrate={"x": X}
    )
    report = executable.compiled.cast_report
    assert report is not None and report.search is not None
    chosen = report.search.points[report.search.chosen]
    assert chosen.cosine >= budget
    exact = np.tanh(X.astype(np.float64) @ TWO_WEIGHTS["a"]) @ TWO_WEIGHTS["b"]
    (found,) = executable.run(X, checked=True)
    assert cosine(found.astype(np.float64), exact) >= budget - 1e-6
    saved = [point.saved_ns for point in report.search.points]
    assert saved == sorted(saved) and report.search.points[0].casts == 0
    assert chosen.casts < 4 or budget < 0.9999999


def test_the_search_takes_more_casts_under_a_looser_budget() -> None:
    counts = []
    for budget in (1.0, 0.99999, 0.9):
        compiled = axonc.compile(
            TWO, weights=TWO_WEIGHTS, auto_cast_budget=budget, calibrate={"x": X}
        ).compiled
        assert compiled.cast_report is not None and compiled.cast_report.search is not None
        search = compiled.cast_report.search
        counts.append(search.points[search.chosen].casts)
    assert counts == sorted(counts) and counts[0] < counts[-1] == 4


def test_the_report_has_errors_and_effects() -> None:
    executable = axonc.compile(
        TWO, weights=TWO_WEIGHTS, auto_cast="matmult", weight_dtype="int8", calibrate={"x": X}
    )
    report = executable.compiled.cast_report
    assert report is not None
    facts = json.loads(report.json())["casts"]
    assert [f["to"] for f in facts] == ["bf16/int8", "bf16/int8"]
    for fact in facts:
        assert 1e-4 < fact["local_error"] < 0.05
        assert 0 < fact["effect"] < 1e-3
        assert "channels" in fact["scale"]
    assert "first" in facts[0]["location"]["name"]


# ---- files, cores, absent weights ----------------------------------------------------------------


def weight_bytes(program: Path) -> int:
    """Of weights that travel in a program file."""
    with zipfile.ZipFile(program) as archive:
        members = {info.filename: info.file_size for info in archive.infolist()}
    return members.get("weights.bin", 0)


@pytest.mark.parametrize("embed", [False, True])
def test_program_files_hold_or_derive_8_bit_weights(tmp_path: Path, embed: bool) -> None:
    np.savez(tmp_path / "w.npz", **WEIGHTS)
    executable = axonc.compile(DENSE, weights=tmp_path / "w.npz", weight_dtype="fp8_e4m3")
    (expected,) = executable.run(X)
    executable.save(tmp_path / "p.axon", embed_weights=embed)
    assert (weight_bytes(tmp_path / "p.axon") > 0) == embed, "the numbers travel only if asked"
    (found,) = axonc.load(tmp_path / "p.axon").run(X)
    assert np.array_equal(found, expected)
    again = axonc.compile(DENSE, weights=tmp_path / "w.npz", weight_dtype="fp8_e4m3")
    again.save(tmp_path / "q.axon", embed_weights=embed)
    assert (tmp_path / "q.axon").read_bytes() == (tmp_path / "p.axon").read_bytes()


def test_weights_of_this_process_travel_in_8_bits_only(tmp_path: Path) -> None:
    axonc.compile(DENSE, weights=WEIGHTS, weight_dtype="int8").save(tmp_path / "p.axon")
    assert W.size < weight_bytes(tmp_path / "p.axon") < 1.1 * W.size
    (found,) = axonc.load(tmp_path / "p.axon").run(X)
    assert error(found, X.astype(np.float64) @ as_stored(W, "int8", 0) + BIAS) < 2e-6


def test_without_data_a_program_compiles() -> None:
    absent = {
        name: WeightRef.absent(array.shape, "f32", name=name) for name, array in WEIGHTS.items()
    }
    executable = axonc.compile(DENSE, weights=absent, weight_dtype="fp8_e4m3")
    assert executable.modelled_seconds > 0
    with pytest.raises(axonc.UsageError, match="has no data"):
        executable.run(X)


@pytest.mark.parametrize("kind", ["fp8_e4m3", "int8"])
def test_several_cores_share_the_scales_of_the_whole_weight(kind: str) -> None:
    options: dict[str, Any] = {"weights": TWO_WEIGHTS, "weight_dtype": kind}
    (one,) = axonc.compile(TWO, **options).run(X)
    executable = axonc.compile(TWO, cores=2, parallel="tensor", **options)
    (found,) = executable.run(X, checked=True)
    assert error(found, one) < 1e-5


# ---- convolutions --------------------------------------------------------------------------------

GAINS = np.geomspace(0.1, 10, 36)[:, None, None, None]
KERNEL = (RNG.standard_normal((36, 12, 3, 3)) * GAINS).astype(np.float32)
IMAGE = RNG.standard_normal((2, 12, 9, 9)).astype(np.float32)


def convolve(params: dict[str, jax.Array], x: jax.Array, groups: int = 1) -> jax.Array:
    return jax.lax.conv_general_dilated(
        x, params["w"], (1, 1), "SAME", dimension_numbers=("NCHW", "OIHW", "NCHW"),
        feature_group_count=groups,
    )  # fmt: skip


@pytest.mark.parametrize("groups", [1, 4])
@pytest.mark.parametrize("kind", ["fp8_e3m4", "int8"])
def test_kernels_of_convolutions_are_weights(kind: str, groups: int) -> None:
    kernel = np.ascontiguousarray(KERNEL[:, : 12 // groups])
    function = partial(convolve, groups=groups)
    program = lower(function, {"w": shape(*kernel.shape)}, shape(*IMAGE.shape))
    executable = axonc.compile(program, weights={"w": kernel}, weight_dtype=kind)
    (found,) = executable.run(IMAGE, checked=True)
    stored = as_stored(kernel.reshape(36, -1), kind, 1).reshape(kernel.shape)
    with jax.enable_x64(True):
        expected = np.asarray(function({"w": stored}, IMAGE.astype(np.float64)))
    assert error(found, expected) < 2e-6


def test_a_search_covers_convolutions() -> None:
    program = lower(convolve, {"w": shape(*KERNEL.shape)}, shape(*IMAGE.shape))
    executable = axonc.compile(
        program, weights={"w": KERNEL}, calibrate={"x": IMAGE}, auto_cast_budget=0.999
    )
    assert targets(executable) == ["bf16/fp8_e4m3"]
    (found,) = executable.run(IMAGE, checked=True)
    assert cosine(found, np.asarray(convolve({"w": KERNEL}, IMAGE))) > 0.999


@pytest.mark.parametrize("kind", FLOATS)
def test_convolutions_in_8_bits_saturate(kind: str) -> None:
    program = lower(convolve, {"w": shape(*KERNEL.shape)}, shape(*IMAGE.shape))
    executable = axonc.compile(
        program, weights={"w": KERNEL}, auto_cast="matmult", auto_cast_type=kind
    )
    image = IMAGE.copy()
    image[0, 0, 0, 0] = 1e20
    (found,) = executable.run(image, checked=True)
    assert np.isfinite(found).all()
    (line,) = executable.compiled.casts
    assert f"saturates at {FLOATS[kind][1]:.4g}" in line


def test_long_blocks_of_one_row_tile() -> None:
    """Two feature tiles of 9 x 128 columns and more: a stride between row tiles that no instruction
    could hold, and none needs."""
    kernel = RNG.standard_normal((192, 256, 3, 3)).astype(np.float32)
    image = RNG.standard_normal((1, 256, 7, 7)).astype(np.float32)
    program = lower(convolve, {"w": shape(*kernel.shape)}, shape(*image.shape))
    (found,) = axonc.compile(program, weights={"w": kernel}).run(image, checked=True)
    assert error(found, np.asarray(convolve({"w": kernel}, image))) < 1e-5
