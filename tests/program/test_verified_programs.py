"""A program file is verified before it is believed: one clear error, and nothing allocated."""

from __future__ import annotations

import json
import random
import tracemalloc
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from program_edits import edited, members_of, packed
from small_models import DENSE, dense_arrays, dense_oracle

import axonc

Facts = dict[str, Any]


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """DENSE with its weights inside."""
    path = tmp_path_factory.mktemp("program") / "p.axon"
    arrays = dense_arrays()
    axonc.compile(DENSE, weights={"w": arrays["w"], "b": arrays["b"]}).save(path)
    return path


def first(kind: str) -> Callable[[Facts], Facts]:
    return lambda facts: next(t for t in facts["tensors"] if t["kind"] == kind)


def put(where: Callable[[Facts], Any], key: Any, value: Any) -> Callable[[Facts], None]:
    def edit(facts: Facts) -> None:
        where(facts)[key] = value

    return edit


def at(*keys: Any) -> Callable[[Facts], Any]:
    def find(facts: Any) -> Any:
        for key in keys:
            facts = facts[key]
        return facts

    return find


EDITS = {
    "input of no type": (put(at("inputs", 0), "dtype", "x"), "input 'x' is x"),
    "cores of no machine": (put(at(), "cores", 10**9), "1000000000 cores; inf2 has"),
    "no cores": (put(at(), "cores", 0), r"`int` >= 1 - at `\$.cores`"),
    "half a core": (put(at(), "cores", 1.5), r"Expected `int`, got `float` - at `\$.cores`"),
    "text for a number": (put(at(), "cores", "1"), "Expected `int`, got `str`"),
    "no target": (put(at(), "target", "inf9"), "'inf9', which is no target"),
    "an unknown key": (put(at(), "extra", 1), "unknown field `extra`"),
    "a dim of 2^62": (put(first("input"), "shape", [1 << 62]), r"Expected `int` <= "),
    "a negative dim": (put(first("input"), "shape", [-1]), "Expected `int` >= 0"),
    "10 GB of input": (put(first("input"), "shape", [50000, 50000]), "on each other|beyond|is at"),
    "another shape than the host's": (put(at("inputs", 0), "shape", [8, 4]), r"its tensor is f32"),
    "another type than the host's": (put(at("inputs", 0), "dtype", "i32"), "its tensor is f32"),
    "a tensor on another": (put(first("output"), "address", 0), "lie on each other"),
    "a tensor beyond the memory": (put(first("output"), "address", 1 << 47), "is at bytes"),
    "a weight behind weights.bin": (put(at("weights", "w"), "offset", 1 << 20), "of weights.bin"),
    "a weight one byte too far": (put(at("weights", "b"), "offset", 513), "of weights.bin"),
    "a weight nowhere": (
        put(at("weights"), "w", {"shape": [8, 16], "dtype": "f32"}), "in 0 places",
    ),
    "a weight in two places": (put(at("weights", "w"), "absent", True), "in 2 places"),
    "a weight of another shape": (put(at("weights", "w"), "shape", [8, 8]), "tensor 'w"),
    "a weight of nothing": (put(first("weight"), "source", "v"), "'v', which is no weight"),
    "a constant that is an input": (put(first("input"), "constant_offset", 0), "constant_offset"),
    "packing that reads elsewhere": (
        put(first("weight"), "packing", {
            "row_dims": [[1 << 20, 8]], "column_dims": [[1, 16]], "offset": 0,
            "partition_tile": 128, "column_block": 512,
        }), "reads elements 0 to",
    ),
    "two inputs of one name": (
        lambda facts: facts["inputs"].append(facts["inputs"][0]), "two inputs are named 'x'",
    ),
    "an input without a tensor": (
        lambda facts: facts["inputs"].append({**facts["inputs"][0], "name": "z"}), "has no tensor",
    ),
    "a tensor without a host": (lambda facts: facts["results"].pop(), "which has a tensor"),
    "groups beyond the cores": (put(at(), "groups", [[[0, 5]]]), "groups .* of 1 cores"),
    "a program of no core": (put(at(), "program_of", [0, 0]), "program_of is"),
    "state of another type": (put(at("results", 1), "state_of", "x"), "the new value of 'x'"),
    "more SBUF than there is": (put(at(), "sbuf_peak_bytes", 1 << 30), "bytes of SBUF"),
    "an engine twice": (
        lambda facts: facts["engines"].append(facts["engines"][0]), "two engines are named",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", EDITS)
def test_a_value_that_cannot_be_is_named(what: str, program: Path, tmp_path: Path) -> None:
    edit, message = EDITS[what]
    with pytest.raises(axonc.ProgramFormatError, match=f"p.axon: .*({message})"):
        axonc.load(edited(program, tmp_path / "p.axon", edit))


def test_the_unedited_copy_runs(program: Path, tmp_path: Path) -> None:
    """So that it is the edits that are refused; packed anew by an ordinary tool."""
    arrays = dense_arrays()
    y, _ = axonc.load(edited(program, tmp_path / "p.axon")).run(arrays["x"])
    np.testing.assert_allclose(y, dense_oracle(**arrays)[0], atol=2e-6)


def test_constants_lie_in_their_member(tmp_path: Path) -> None:
    def rows(table: jax.Array, at: jax.Array) -> jax.Array:
        return jax.lax.dynamic_slice(table, (at, 0), (40, 8))

    lowered = jax.jit(rows).lower(np.ones((64, 8), np.float32), np.int32(0))
    axonc.compile(lowered).save(tmp_path / "rows.axon")
    for offset in (1 << 20, 1 << 40):
        edit = put(first("constant"), "constant_offset", offset)
        changed = edited(tmp_path / "rows.axon", tmp_path / "p.axon", edit)
        with pytest.raises(axonc.ProgramFormatError, match="of constants.bin, which has"):
            axonc.load(changed)


def test_members_that_cannot_be(program: Path, tmp_path: Path) -> None:
    for members, message in (
        ({"weights__bin": b""}, "of weights.bin, which has 0"),
        ({"constants__bin": None}, "constants.bin is missing"),
        ({"locations__json": b"[[1]]"}, "member locations.json: "),
        ({"locations__json": b"[" * 100_000}, "member locations.json: "),
        ({"locations__vector__bin": b"\x09\x00\x00\x7f" * 4}, "more than"),
        ({"locations__vector__bin": b"\x09"}, "has 1 bytes"),
        ({"streams__vector__bin": None}, "streams/vector.bin is missing"),
    ):
        with pytest.raises(axonc.ProgramFormatError, match=message):
            axonc.load(edited(program, tmp_path / "p.axon", **members))


def test_every_changed_byte_of_a_member_is_noticed(program: Path, tmp_path: Path) -> None:
    """Also where an archive has been packed anew, so that its checksums are right."""
    members = members_of(program)
    for name, data in members.items():
        if not data:
            continue
        changed = bytearray(data)
        changed[len(data) // 2] ^= 1
        with pytest.raises(axonc.ProgramFormatError):
            axonc.load(packed({**members, name: bytes(changed)}, tmp_path / "p.axon"))
    facts = json.loads(members["manifest.json"])
    facts["notes"] = ["hello"]
    text = json.dumps(facts).encode()
    with pytest.raises(axonc.ProgramFormatError, match="manifest is not the one that was written"):
        axonc.load(packed({**members, "manifest.json": text}, tmp_path / "p.axon"))
    with pytest.raises(axonc.ProgramFormatError, match="more.bin does not belong"):
        axonc.load(packed({**members, "more.bin": b""}, tmp_path / "p.axon"))


def test_a_compressed_archive_is_refused_before_it_grows(program: Path, tmp_path: Path) -> None:
    members = {**members_of(program), "constants.bin": bytes(200 << 20)}
    bomb = packed(members, tmp_path / "p.axon", zipfile.ZIP_DEFLATED)
    assert bomb.stat().st_size < 1 << 20
    tracemalloc.start()
    try:
        with pytest.raises(axonc.ProgramFormatError, match="compressed") as caught:
            axonc.load(bomb)
        assert tracemalloc.get_traced_memory()[1] < 20 << 20
    finally:
        tracemalloc.stop()
    assert "zip -0" in str(caught.value)


def test_a_truncated_file_is_refused(program: Path, tmp_path: Path) -> None:
    data = program.read_bytes()
    for size in range(0, len(data), max(1, len(data) // 50)):
        (tmp_path / "p.axon").write_bytes(data[:size])
        with pytest.raises(axonc.ProgramFormatError, match="p.axon"):
            axonc.load(tmp_path / "p.axon")


def test_a_manifest_that_is_deep_is_refused(program: Path, tmp_path: Path) -> None:
    members = members_of(program)
    for text in (b"[" * 1_000_000, b'{"format":' + b'{"a":' * 200_000):
        with pytest.raises(axonc.ProgramFormatError, match="not one of axonc"):
            axonc.load(packed({**members, "manifest.json": text}, tmp_path / "p.axon"))


def test_forged_streams_end_in_an_error_of_ours(program: Path, tmp_path: Path) -> None:
    """Bytes changed and hashes made right: instructions are decoded, and tried against the rules of
    their descriptions, before the executor indexes with anything in them. What obeys them runs."""
    chance, arrays = random.Random(7), dense_arrays()
    streams = {n: d for n, d in members_of(program).items() if n.startswith("streams/") and d}
    refused = 0
    for _ in range(60):
        name = chance.choice(sorted(streams))
        data = bytearray(streams[name])
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        spelled = name.replace("/", "__").replace(".", "__")
        forged = edited(program, tmp_path / "p.axon", **{spelled: bytes(data)})
        for checked in (True, False):
            try:
                axonc.load(forged).run(arrays["x"], checked=checked)
            except axonc.AxoncError:
                refused += 1
    assert refused > 40


def test_an_instruction_that_breaks_its_rule_is_named(program: Path) -> None:
    """Also in fast mode, which trusts what was compiled in its own process."""
    compiled = axonc.load(program).compiled
    assert compiled.is_foreign
    engine, stream = next((e, s) for e, s in compiled.program.streams.items() if s)
    other = next(e for e in compiled.program.streams if e is not engine)
    moved = {**compiled.program.streams, other: stream}
    locations = {**compiled.program.instruction_locations}
    locations[other] = locations[engine]
    foreign = replace(compiled.program, streams=moved, instruction_locations=locations)
    executable = axonc.Executable(replace(compiled, program=foreign))
    with pytest.raises(axonc.ProgramFormatError, match=rf"{other.value}\[0\] .* stream of"):
        executable.run(dense_arrays()["x"])
