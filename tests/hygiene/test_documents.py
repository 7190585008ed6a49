"""What the documents show works: code runs, commands parse, links and files exist."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from axonc.tools.cli import VERBS

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
# Placeholders in commands and paths of the how-to pages.
PLACEHOLDER = re.compile(r"<[^>]+>")


def commands(text: str) -> list[list[str]]:
    """Words of every indented `axonc ...` line; continuation lines are joined, comments dropped."""
    joined = text.replace("\\\n", " ")
    lines = [m[1] for m in re.finditer(r"^ {4}(axonc [a-z-]+ .*)$", joined, re.MULTILINE)]
    return [shlex.split(PLACEHOLDER.sub("name", line), comments=True)[1:] for line in lines]


def test_python_of_the_readme_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert blocks
    monkeypatch.chdir(tmp_path)
    for block in blocks:
        exec(compile(block, "README.md", "exec"), {})
    assert (tmp_path / "softmax.axon").is_file()


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda p: str(p.relative_to(ROOT)))
def test_commands_parse(path: Path) -> None:
    verbs = {verb.name: verb for verb in VERBS}
    for words in commands(path.read_text()):
        verbs[words[0]].load().make_parser().parse_args(words[1:])


def test_commands_are_found_in_the_readme() -> None:
    found = {words[0] for words in commands((ROOT / "README.md").read_text())}
    assert found >= {verb.name for verb in VERBS} - {"list-operators"}


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_lead_somewhere(path: Path) -> None:
    targets = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", path.read_text())
    assert [t for t in targets if not (path.parent / t).exists()] == []


def test_make_targets_that_are_named_exist() -> None:
    targets = set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    hooks = re.findall(r"entry: make (\S+)", (ROOT / ".pre-commit-config.yaml").read_text())
    named = {t for path in DOCUMENTS for t in re.findall(r"`make ([a-z-]+)", path.read_text())}
    assert hooks and named and {*hooks, *named} <= targets


@pytest.mark.parametrize("name", ["pass", "option", "op", "instruction"])
def test_files_of_the_how_to_pages_exist(name: str) -> None:
    text = (ROOT / "docs" / "how-to-add" / f"{name}.md").read_text()
    folders = r"(?:compiler|dialects|passes|backends|tests|tools|docs)"
    paths = [p for p in re.findall(rf"`({folders}/[^`\s]+)`", text) if not PLACEHOLDER.search(p)]
    assert paths and [p for p in paths if not (ROOT / p).exists()] == []
