"""Weights by reference: what opening reads, what loading gives, how a file can be wrong."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import save_file

from axonc.diagnostics import UsageError
from axonc.weights.references import WeightRef, check_fits, open_weight_file


def test_safetensors_round_trip(tmp_path: Path):
    path = tmp_path / "w.safetensors"
    arrays = {
        "a": np.arange(6, dtype=np.float32).reshape(2, 3),
        "b": np.arange(4, dtype=np.float32).astype(ml_dtypes.bfloat16),
        "c": np.array([[-1, 2]], np.int64),
        "empty": np.zeros((0, 3), np.float32),
    }
    save_file(arrays, path)
    refs = open_weight_file(path)
    assert {n: (r.shape, r.dtype) for n, r in refs.items()} == {
        "a": ((2, 3), "f32"),
        "b": ((4,), "bf16"),
        "c": ((1, 2), "i64"),
        "empty": ((0, 3), "f32"),
    }
    for name, array in arrays.items():
        loaded = refs[name].load()
        assert loaded.dtype == array.dtype
        np.testing.assert_array_equal(loaded, array)


def test_safetensors_f8_is_the_finite_kind(tmp_path: Path):
    header = json.dumps({"w": {"dtype": "F8_E4M3", "shape": [2], "data_offsets": [0, 2]}}).encode()
    path = tmp_path / "w.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes([0x38, 0x7E]))
    weight = open_weight_file(path)["w"]
    assert weight.dtype == "f8E4M3FN"
    np.testing.assert_array_equal(weight.load().astype(np.float32), [1.0, 448.0])


def test_safetensors_is_mapped_and_not_read(tmp_path: Path):
    path = tmp_path / "w.safetensors"
    save_file({"a": np.ones((4, 4), np.float32)}, path)
    loaded = open_weight_file(path)["a"].load()
    base = loaded
    while not isinstance(base, np.memmap):
        base = base.base
    assert not loaded.flags.writeable


def test_npz_and_npy_round_trip(tmp_path: Path):
    array = np.arange(6, dtype=np.float16).reshape(2, 3)
    np.savez(tmp_path / "w.npz", x=array, y=np.arange(3, dtype=np.uint8))
    np.save(tmp_path / "one.npy", array)
    np.save(tmp_path / "columns.npy", np.asfortranarray(array))
    refs = open_weight_file(tmp_path / "w.npz")
    assert {n: r.dtype for n, r in refs.items()} == {"x": "f16", "y": "ui8"}
    np.testing.assert_array_equal(refs["x"].load(), array)
    for name in ("one", "columns"):
        np.testing.assert_array_equal(
            open_weight_file(tmp_path / f"{name}.npy")[name].load(), array
        )


def test_held_array_is_not_copied():
    array = np.ones((2, 2), np.float32)
    assert WeightRef.of_array(array).load() is array


def test_truncated_safetensors_names_the_tensor(tmp_path: Path):
    path = tmp_path / "w.safetensors"
    save_file({"layer.weight": np.ones((8, 8), np.float32)}, path)
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(UsageError, match=r"tensor 'layer.weight' is at data bytes 0..256, .* 246"):
        open_weight_file(path)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "0 bytes, too short for a header"),
        (struct.pack("<Q", 1 << 40) + b"{}", "header of 1099511627776 bytes in a file of 10 bytes"),
        (struct.pack("<Q", 4) + b"{x: ", "header is not JSON"),
        (struct.pack("<Q", 2) + b"[]", "header is not a JSON object"),
        (struct.pack("<Q", 8) + b'{"a":{}}', "malformed header entry of tensor 'a'"),
    ],
)
def test_damaged_safetensors(tmp_path: Path, content: bytes, complaint: str):
    path = tmp_path / "w.safetensors"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=complaint):
        open_weight_file(path)


def test_size_that_contradicts_the_shape(tmp_path: Path):
    header = json.dumps({"w": {"dtype": "F32", "shape": [3], "data_offsets": [0, 8]}}).encode()
    path = tmp_path / "w.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(8))
    with pytest.raises(UsageError, match="'w' has 8 bytes, its type needs 12"):
        open_weight_file(path)


def test_truncated_npz_and_npy(tmp_path: Path):
    np.savez(tmp_path / "w.npz", x=np.ones(100))
    np.save(tmp_path / "w.npy", np.ones(100))
    for name in ("w.npz", "w.npy"):
        path = tmp_path / name
        path.write_bytes(path.read_bytes()[:200])
        with pytest.raises(UsageError, match="truncated or damaged"):
            open_weight_file(path)


def test_missing_file_and_unknown_extension(tmp_path: Path):
    with pytest.raises(UsageError, match="no such weight file"):
        open_weight_file(tmp_path / "w.safetensors")
    with pytest.raises(UsageError, match=r"did you mean '.safetensors'\?"):
        open_weight_file(tmp_path / "w.safetensor")


def test_npz_that_cannot_name_its_dtype(tmp_path: Path):
    np.savez(tmp_path / "w.npz", x=np.ones(2, ml_dtypes.bfloat16))
    with pytest.raises(UsageError, match="store these as safetensors"):
        open_weight_file(tmp_path / "w.npz")


def test_mismatch_names_argument_and_weight():
    weight = WeightRef.of_array(np.ones((2, 3), np.float32))
    check_fits("w", (2, 3), "f32", weight)
    with pytest.raises(
        UsageError, match=r"shape of weight .*2x3xf32.* argument 'w': tensor<3x2xf32>"
    ):
        check_fits("w", (3, 2), "f32", weight)
    with pytest.raises(
        UsageError, match=r"dtype of weight .*2x3xf32.* argument 'w': tensor<2x3xbf16>"
    ):
        check_fits("w", (2, 3), "bf16", weight)
