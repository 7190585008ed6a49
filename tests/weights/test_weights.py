"""Weights by reference: what opening reads, what loading gives, how a file can be wrong."""

from __future__ import annotations

import io
import json
import mmap
import struct
import zipfile
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
    while isinstance(base, np.ndarray):
        base = base.base
    assert isinstance(base, memoryview) and isinstance(base.obj, mmap.mmap)
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


def safetensors(path: Path, entry: str, data: bytes = bytes(512)) -> Path:
    text = f'{{"w":{entry}}}'.encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return path


@pytest.mark.parametrize(
    ("shape", "offsets", "why"),
    [
        ("[8.5,16]", "[0,512]", "got `float`"),
        ("[true,128]", "[0,512]", "got `bool`"),
        ('["8",16]', "[0,512]", "got `str`"),
        ("[-8,-16]", "[0,512]", ">= 0"),
        ("[8,16]", "[-1,511]", ">= 0"),
        ("[18446744073709551616,16]", "[0,512]", "out of range|needs"),
        ("[4294967296,4294967296,0]", "[0,512]", "has 512 bytes, its type needs 0"),
        ("[4294967296,4294967296]", "[0,0]", "needs 73786976294838206464"),
        ("[8,16]", "[0,Infinity]", "header is not JSON"),
        ("[8,16]", "[512,0]", "at data bytes 512..0"),
        ("[8,16]", "[4,516]", "the file holds 512"),
        ("[" * 100_000, "[0,512]", "recursion depth"),
    ],
)
def test_numbers_of_a_safetensors_header_that_cannot_be(
    tmp_path: Path, shape: str, offsets: str, why: str
) -> None:
    entry = f'{{"dtype":"F32","shape":{shape},"data_offsets":{offsets}}}'
    with pytest.raises(UsageError, match=f"damaged: .*({why})"):
        open_weight_file(safetensors(tmp_path / "w.safetensors", entry))


def npy(shape: tuple[int, ...], data: bytes) -> bytes:
    stream = io.BytesIO()
    header = {"descr": "<f4", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(stream, header)
    return stream.getvalue() + data


@pytest.mark.parametrize("shape", [(1 << 40,), (3, 1 << 62), (-4, -4)])
def test_a_numpy_header_that_promises_more_than_there_is(
    tmp_path: Path, shape: tuple[int, ...]
) -> None:
    (tmp_path / "w.npy").write_bytes(npy(shape, bytes(64)))
    with zipfile.ZipFile(tmp_path / "w.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("w.npy", npy(shape, bytes(64)))
    for name in ("w.npy", "w.npz"):
        with pytest.raises(UsageError, match="has 64 data bytes, .* needs"):
            open_weight_file(tmp_path / name)


def test_a_damaged_member_of_an_npz_is_named(tmp_path: Path) -> None:
    path = tmp_path / "w.npz"
    np.savez(path, w=np.arange(1000, dtype=np.float32))
    data = bytearray(path.read_bytes())
    data[2000] ^= 1
    path.write_bytes(data)
    with pytest.raises(UsageError, match="w.npz: truncated or damaged: Bad CRC"):
        open_weight_file(path)["w"].load()
