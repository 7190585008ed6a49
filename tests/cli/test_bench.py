"""The table of models: rows by name, figures of a small model, errors as rows."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import small_models

from axonc.tools.bench.__main__ import main
from axonc.tools.bench.fresh_process import compile_program
from axonc.tools.bench.models_table import Settings, measure, selected
from axonc.tools.bench.published import ROWS, Row
from axonc.tools.models.registry import MODELS


def test_every_row_has_a_name_of_its_own_and_a_model_of_the_zoo() -> None:
    names = [row.name for row in ROWS]
    assert len(set(names)) == len(names)
    assert {row.model for row in ROWS} <= set(MODELS)


def test_published_throughput_and_latency_agree() -> None:
    # machine.md#encoders: throughput = 2 cores x batch / p50.
    by_name = {row.name: row.published_ms for row in ROWS}
    throughput = {"bert-base-b8": 2674.2, "bert-large-b4": 950.0, "distilbert-b16": 5307.9}
    for name, per_second in throughput.items():
        batch = int(name.rpartition("-b")[2])
        assert by_name[name] == pytest.approx(2 * batch / per_second * 1e3, rel=0.01)


def test_rows_are_selected_by_name_or_by_model() -> None:
    assert [row.name for row in selected(["bert-base-b8"])] == ["bert-base-b8"]
    assert {row.model for row in selected(["bert-large*"])} == {"bert-large"}
    assert selected([]) == list(ROWS)


def test_an_unknown_row_is_refused_with_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bert-bass"]) == 2
    assert "bert-base" in capsys.readouterr().err


def test_a_row_says_what_the_machine_and_the_host_need(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    assert main(["--small", "--auto-cast", "none", "--folder", str(tmp_path), "distilbert"]) == 0
    document = json.loads((tmp_path / "models.json").read_text())
    (row,) = document["rows"]
    assert document["auto_cast"] == "none"
    assert row["error"] <= 1e-5 and row["cosine"] > 0.99999
    assert 0 < max(row["bound_ms"].values()) <= row["modelled_ms"] < 1
    assert row["compile_peak_bytes"] > 50e6
    assert row["executor_seconds"] > 0 and row["xla_seconds"] > 0


def test_what_fails_is_a_row_with_the_first_line_of_the_error(tmp_path: Path) -> None:
    row = measure(Row("bert-bass"), Settings(tmp_path, small=True))
    assert row["failed"] == "error: no model 'bert-bass'"


def test_a_program_that_does_not_compile_says_why(tmp_path: Path) -> None:
    artifact = tmp_path / "m.mlir"
    artifact.write_text(small_models.UNSUPPORTED)
    weights = tmp_path / "w.npz"
    np.savez(weights, arg0=np.zeros((8, 8), np.float32))
    done = compile_program(artifact, weights, tmp_path / "m.axon")
    assert done.exit_code == 1
    assert done.complaint.endswith("m.mlir:1:1: error: argument 'arg1': element type f64")
    assert "Traceback" not in done.errors
