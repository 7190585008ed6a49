"""The page of PyTorch operations is what its expressions give today."""

from __future__ import annotations

import importlib.util

import pytest
import torch_operator_page

torch = pytest.importorskip("torch")
if importlib.util.find_spec("torchax") is None:  # importing it bare fails with this torch
    pytest.skip("torchax is not installed", allow_module_level=True)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_page_is_up_to_date() -> None:
    lines = torch_operator_page.PAGE.read_text(encoding="utf-8").splitlines()
    made = torch_operator_page.page().splitlines()
    assert [line for line in made if line not in lines] == []
    assert lines == made


@pytest.mark.parametrize(
    "expression, dtype, expected",
    [
        ("x + y", "bfloat16", "yes"),
        ("x.unique()", "int64", "no"),
        ("F.gelu(x)", "int64", "-"),
    ],
)
def test_outcomes(expression: str, dtype: str, expected: str) -> None:
    assert torch_operator_page.outcome(expression, dtype) == expected


def test_wrong_numbers_are_no_outcome(monkeypatch: pytest.MonkeyPatch) -> None:
    from axonc.tools import xla_reference

    right = xla_reference.run_on_xla
    monkeypatch.setattr(xla_reference, "run_on_xla", lambda *a: [v + 1 for v in right(*a)])
    with pytest.raises(AssertionError, match="x \\+ y in float32"):
        torch_operator_page.outcome("x + y", "float32")
