"""What the return statements of a Python function call its results."""

from __future__ import annotations

import linecache

import pytest

from axonc.frontends.returned_names import TracedFunction, returned_names


def names(source: str, arguments: str, *results: str, line: int = 1) -> list[str]:
    linecache.cache["/model.py"] = (len(source), None, source.splitlines(True), "/model.py")
    traced = TracedFunction(f"f at /model.py:{line}", arguments.split(), results)
    return returned_names(traced)


@pytest.mark.parametrize(
    ("value", "paths", "expected"),
    [
        ("h @ w, h", ["result[0]", "result[1]"], ["", "h"]),
        ("h", ["result"], ["h"]),
        ("y, state", ["result[0]", "result[1]['k']"], ["y", "state.k"]),
        ("{'y': y, 's': (h, c)}", ["result['s'][1]", "result['y']"], ["c", "y"]),
        ("State(h=h, c=c)", ["result.c"], ["c"]),
        ("dict(h=new)", ["result['h']"], ["new"]),
        ("*many, h", ["result[0]", "result[3]"], ["", ""]),
        ("g(h)", ["result[0]"], [""]),
    ],
)
def test_names_of_one_return(value: str, paths: list[str], expected: list[str]) -> None:
    assert names(f"def f(h, w):\n    return {value}\n", "h w", *paths) == expected
    assert names(f"f = lambda h, w: ({value})\n", "h w", *paths) == expected or "*" in value


def test_all_returns_have_to_agree() -> None:
    source = "def f(h):\n  if A:\n    return h, y\n  def g(): return z\n  return h, x\n"
    assert names(source, "h", "result[0]", "result[1]") == ["h", ""]


def test_a_variable_that_is_one_tuple() -> None:
    once = "def f(h):\n  out = (y, h)\n  return out\n"
    twice = "def f(h):\n  out = (y, h)\n  out = (h, y)\n  return out\n"
    assert names(once, "h", "result[1]") == ["h"]
    assert names(twice, "h", "result[1]") == ["out.1"]


@pytest.mark.parametrize(
    ("source", "line"),
    [
        ("def f(q):\n  return q\n", 1),  # other arguments: the file has changed
        ("def f(h):\n  return h\n", 2),  # no function there
        ("f, g = (lambda h: h), (lambda h: (h, 1))\n", 1),  # two of them
        ("def f(h:\n", 1),
    ],
)
def test_a_source_that_does_not_fit_gives_no_names(source: str, line: int) -> None:
    assert names(source, "h", "result", line=line) == [""]


def test_a_decorated_function_begins_at_its_decorator() -> None:
    assert names("@jit\ndef f(h):\n  return h\n", "h", "result") == ["h"]
