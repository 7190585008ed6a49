"""docs/reference/instructions.md is what the entries say now."""

from pathlib import Path

import pytest
from pytest import CaptureFixture, MonkeyPatch
from source_tree import ROOT

from axonc.backends.isa import INSTRUCTIONS
from axonc.backends.isa.rules import COMMON_RULES
from axonc.tools import gen_docs


def test_the_page_is_up_to_date() -> None:
    current = (ROOT / gen_docs.PAGE).read_text(encoding="utf-8")
    assert current == gen_docs.reference_page(), "run: python -m axonc.tools.gen_docs"


def test_the_page_names_every_instruction_operand_field_and_rule() -> None:
    page = gen_docs.reference_page()
    sections = page.split("\n### `")
    for spec in INSTRUCTIONS:
        (section,) = [s for s in sections if s.startswith(spec.mnemonic + "`")]
        for name in (*spec.operand_index, *spec.field_index):
            assert f"`{name}`" in section
        for rule in spec.rules:
            assert f"- ({rule.number}) {rule.text}" in section
    for number, text in COMMON_RULES.items():
        assert f"- ({number}) {text}" in page


def test_check_compares_and_writes_nothing(tmp_path: Path, monkeypatch: MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    page = tmp_path / gen_docs.PAGE
    page.parent.mkdir(parents=True)
    assert gen_docs.main(["--check"]) == 1 and not page.exists()
    assert gen_docs.main([]) == 0 and gen_docs.main(["--check"]) == 0
    page.write_text(page.read_text() + "by hand\n")
    assert gen_docs.main(["--check"]) == 1


def test_it_is_written_in_a_checkout_only(
    tmp_path: Path, monkeypatch: MonkeyPatch, capsys: CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit):
        gen_docs.main([])
    assert "run it in a checkout of axonc" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
