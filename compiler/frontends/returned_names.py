"""Names of the variables that a Python function returns, from its source: a traced program knows
the names of its arguments, but of its results only their places.

    def cell(h, x, w):
        h = jnp.tanh(h + x)
        return h @ w, h              # "", "h"

Only what the return statements spell out is a name; nothing is executed.
"""

from __future__ import annotations

import ast
import linecache
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

Function = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
Key = int | str
_SOURCE = re.compile(r"(?P<name>.+) at (?P<file>.+):(?P<line>\d+)")
_KEY = re.compile(r"\[(?P<number>\d+)\]|\['(?P<quoted>[^']*)'\]|\.(?P<attribute>\w+)")


@dataclass(frozen=True)
class TracedFunction:
    """As JAX describes it."""

    source: str
    """`cell at /path/model.py:12`."""
    arguments: Sequence[str]
    """`h`, `params['w']`."""
    results: Sequence[str]
    """`result[0]['k']`."""


def returned_names(traced: TracedFunction) -> list[str]:
    """For each result the variable it is returned from, with the keys inside of it (`cache['k']`);
    "" where there is none, or source and program do not belong together."""
    function = _function_of(traced)
    if function is None:
        return [""] * len(traced.results)
    returns = list(_returned(function))
    assigned = _assigned_once(function)
    return [_agreed(returns, assigned, path) for path in traced.results]


def _agreed(returns: list[ast.expr], assigned: dict[str, ast.expr], path: str) -> str:
    """The name all return statements give."""
    names = {_name(value, list(_keys(path)), assigned) for value in returns}
    return names.pop() if len(names) == 1 else ""


def _function_of(traced: TracedFunction) -> Function | None:
    found = _SOURCE.fullmatch(traced.source)
    if found is None:
        return None
    try:
        tree = ast.parse("".join(linecache.getlines(found["file"])))
    except (SyntaxError, ValueError):
        return None
    line = int(found["line"])
    functions = [n for n in ast.walk(tree) if isinstance(n, Function) and line in _first_lines(n)]
    roots = {re.split(r"[\[.]", name)[0] for name in traced.arguments}
    fitting = [f for f in functions if roots <= _parameters(f)]
    return fitting[0] if len(fitting) == 1 else None


def _first_lines(function: Function) -> list[int]:
    """Python counts a function from its first decorator on."""
    decorators = [] if isinstance(function, ast.Lambda) else function.decorator_list
    return [function.lineno, *(d.lineno for d in decorators)]


def _parameters(function: Function) -> set[str]:
    given = function.args
    some = [*given.posonlyargs, *given.args, *given.kwonlyargs, given.vararg, given.kwarg]
    return {argument.arg for argument in some if argument is not None}


def _returned(function: Function) -> Iterator[ast.expr]:
    if isinstance(function, ast.Lambda):
        yield function.body
        return
    for node in _own_nodes(function):
        if isinstance(node, ast.Return) and node.value is not None:
            yield node.value


def _own_nodes(node: ast.AST) -> Iterator[ast.AST]:
    """Without those of functions and classes inside."""
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, Function | ast.ClassDef):
            yield child
            yield from _own_nodes(child)


def _assigned_once(function: Function) -> dict[str, ast.expr]:
    """Tuples and dictionaries that a variable stands for, which nothing else is assigned to."""
    stored = [
        node.id
        for node in _own_nodes(function)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
    ]
    return {
        node.targets[0].id: node.value
        for node in _own_nodes(function)
        if isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Name)
        and isinstance(node.value, ast.Tuple | ast.List | ast.Dict)
        and stored.count(node.targets[0].id) == 1
    }


def _keys(path: str) -> Iterator[Key]:
    for found in _KEY.finditer(path):
        number = found["number"]
        yield int(number) if number is not None else found["quoted"] or found["attribute"]


def _name(value: ast.expr | None, keys: list[Key], assigned: dict[str, ast.expr]) -> str:
    """What the part of `value` at `keys` is called."""
    if isinstance(value, ast.Name):
        if keys and value.id in assigned:
            return _name(assigned[value.id], keys, assigned)
        return ".".join(map(str, (value.id, *keys)))
    if not keys or value is None:
        return ""
    return _name(_part(value, keys[0]), keys[1:], assigned)


def _part(value: ast.expr, key: Key) -> ast.expr | None:
    if isinstance(value, ast.Tuple | ast.List) and isinstance(key, int):
        before = value.elts[: key + 1]
        is_plain = len(before) > key and not any(isinstance(e, ast.Starred) for e in before)
        return before[key] if is_plain else None
    if isinstance(value, ast.Dict):
        pairs = zip(value.keys, value.values, strict=True)
        return next((v for k, v in pairs if isinstance(k, ast.Constant) and k.value == key), None)
    if isinstance(value, ast.Call):
        return next((k.value for k in value.keywords if k.arg == key), None)
    return None
