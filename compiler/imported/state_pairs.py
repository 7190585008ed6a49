"""Which result is the new value of which donated argument.

JAX says which arguments are donated and pairs each with the first free result of its type, which is
all that matters for memory. What a result *means* is something else: an RNN step that returns
`y, h` has its state second, whatever the shapes are. So names decide:

1. `neuron.alias`, which we wrote ourselves (or a person did).
2. Names in the pytree, or of the variables that the function returns: `h` is the new `h`, and so is
   `new_h`; `cache.k` that of `cache.k`.
3. A result that is a tuple or dictionary of the same keys and types as the argument.

Where there are no names, a pair is taken only if no other one is possible or likely: one argument
and one result of a type; one argument, and one result that depends on it; several, when there is
one way only to give each a result that depends on it, and JAX pairs them in that way too. What is
left is *open*: the user has to say it, nothing is guessed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class StatePairs:
    """Which result is the new value of which argument."""

    pairs: Mapping[str, str] = field(default_factory=dict)
    """By name of an argument, the result that is its new value."""
    open: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """By name of an argument that may have a new value, the results between which its names do not
    decide."""


@dataclass(frozen=True)
class Slot:
    """An argument or a result."""

    name: str
    kind: Hashable
    """Its type."""
    value: Hashable
    """Equal for results that are one value."""
    written: str = ""
    """The variable a function returns it from, if that is known."""


@dataclass(frozen=True)
class Donation:
    """The donated arguments and all results of a function."""

    arguments: Sequence[Slot]
    results: Sequence[Slot]
    said: Mapping[int, int]
    """Pairs that are certain."""
    order: Mapping[int, int]
    """Those JAX has chosen; by place in `arguments`, place in `results`."""
    reads: Callable[[], Sequence[frozenset[int]]]
    """By result, the places of the arguments it may depend on, found when needed."""


def pair_state(donation: Donation) -> StatePairs:
    """The pairs that names or the program decide, and what is open."""
    found = dict(donation.said)
    for same in (_same_path, _same_stem, _same_key, _same_stem_of_key):
        _by_names(donation, same, found)
    _by_structure(donation, found)
    open_: dict[int, list[int]] = {}
    kinds = dict.fromkeys(donation.arguments[a].kind for a in _unpaired(donation, found))
    for kind in kinds:
        arguments = [a for a in _unpaired(donation, found) if donation.arguments[a].kind == kind]
        results = _distinct(donation, _free(donation, found, kind))
        decided = _by_dependence(donation, arguments, results)
        if decided is None:
            open_ |= {a: results for a in arguments}
        else:
            found |= decided
    names = [r.name for r in donation.results]
    return StatePairs(
        {donation.arguments[a].name: names[r] for a, r in sorted(found.items())},
        {donation.arguments[a].name: tuple(names[r] for r in rs) for a, rs in open_.items()},
    )


def _unpaired(donation: Donation, found: Mapping[int, int]) -> list[int]:
    return [a for a in range(len(donation.arguments)) if a not in found]


def _free(donation: Donation, found: Mapping[int, int], kind: Hashable) -> list[int]:
    """Results of a type that are not the new value of an argument yet."""
    taken = {donation.results[r].value for r in found.values()}
    results = enumerate(donation.results)
    return [n for n, r in results if r.kind == kind and r.value not in taken]


def _distinct(donation: Donation, results: list[int]) -> list[int]:
    """The results, but of those that are one value only the first."""
    first: dict[Hashable, int] = {}
    for number in results:
        first.setdefault(donation.results[number].value, number)
    return list(first.values())


# ---- names

_AFFIXES = frozenset(
    ("new", "next", "updated", "out", "old", "prev", "previous", "last", "cur", "current", "init")
)

Same = Callable[[list[str], list[str]], bool]


def _path(name: str) -> list[str]:
    """`result.0.cache.k` -> 0, cache, k."""
    parts = name.split(".")
    return parts[1:] if re.fullmatch(r"result\d*", parts[0]) else parts


def _stem(word: str) -> str:
    """`new_h`, `h_next` and `h1` are all `h`."""
    parts = [part for part in word.lower().split("_") if part and part not in _AFFIXES]
    return "_".join(parts).rstrip("0123456789") or word


def _same_path(argument: list[str], result: list[str]) -> bool:
    return result[-len(argument) :] == argument


def _same_stem(argument: list[str], result: list[str]) -> bool:
    """Keys are what they are; the variable may be called anew."""
    if len(result) < len(argument):
        return False
    result = result[-len(argument) :]
    return result[1:] == argument[1:] and _stem(result[0]) == _stem(argument[0])


def _same_key(argument: list[str], result: list[str]) -> bool:
    return bool(result) and result[-1] == argument[-1] and not argument[-1].isdigit()


def _same_stem_of_key(argument: list[str], result: list[str]) -> bool:
    return (
        bool(result)
        and not argument[-1].isdigit()
        and not result[-1].isdigit()
        and _stem(result[-1]) == _stem(argument[-1])
    )


def _by_names(donation: Donation, same: Same, found: dict[int, int]) -> None:
    """Pairs of which each half is named like the other, and nothing else is."""
    for spelled in ("name", "written"):
        wanted = {
            a: _named_like(donation, found, a, same, spelled) for a in _unpaired(donation, found)
        }
        claims = [donation.results[r].value for rs in wanted.values() for r in rs]
        for a, rs in wanted.items():
            if len(rs) == 1 and claims.count(donation.results[rs[0]].value) == 1:
                found[a] = rs[0]


def _named_like(
    donation: Donation, found: Mapping[int, int], argument: int, same: Same, spelled: str
) -> list[int]:
    """Free results of the argument's type whose name (or variable) is like its own."""
    path, kind = donation.arguments[argument].name.split("."), donation.arguments[argument].kind
    free = _free(donation, found, kind)
    names = {r: str(getattr(donation.results[r], spelled)) for r in free}
    return _distinct(donation, [r for r, n in names.items() if n and same(path, _path(n))])


# ---- structure


def _by_structure(donation: Donation, found: dict[int, int]) -> None:
    """An argument of several leaves, and the one result that has leaves of all their keys and
    types."""
    unpaired = _unpaired(donation, found)
    roots: dict[str, dict[str, int]] = {}
    for a in unpaired:
        root, _, rest = donation.arguments[a].name.partition(".")
        roots.setdefault(root, {})[rest] = a
    proposed: list[dict[int, int]] = []
    for leaves in roots.values():
        if "" not in leaves and len(leaves) > 1:
            proposed.append(_only_like(donation, leaves, found))
    claims = [r for pairs in proposed for r in pairs.values()]
    for pairs in proposed:
        if all(claims.count(r) == 1 for r in pairs.values()):
            found |= pairs


def _only_like(
    donation: Donation, leaves: Mapping[str, int], found: Mapping[int, int]
) -> dict[int, int]:
    """Empty unless there is exactly one such result."""
    taken = set(found.values())
    numbers = {r.name: n for n, r in enumerate(donation.results) if n not in taken}
    first = next(iter(leaves))
    prefixes = [n.removesuffix("." + first) for n in numbers if n.endswith("." + first)]
    matches = [
        {a: numbers[f"{prefix}.{rest}"] for rest, a in leaves.items()}
        for prefix in prefixes
        if all(_is_leaf(donation, numbers, f"{prefix}.{rest}", a) for rest, a in leaves.items())
    ]
    return matches[0] if len(matches) == 1 else {}


def _is_leaf(donation: Donation, numbers: Mapping[str, int], name: str, argument: int) -> bool:
    kind = donation.arguments[argument].kind
    return name in numbers and donation.results[numbers[name]].kind == kind


# ---- the program


def _by_dependence(
    donation: Donation, arguments: list[int], results: list[int]
) -> dict[int, int] | None:
    """Pairs of arguments and results of one type without names; None if it stays open. An argument
    for which no result is left has none: it was donated for its memory."""
    if not results:
        return {}
    if len(arguments) == len(results) == 1:
        return {arguments[0]: results[0]}
    reads = donation.reads()
    options = {a: [r for r in results if a in reads[r]] for a in arguments}
    matched = _only_matching(options, len(arguments) == len(results))
    if matched is None or len(arguments) == 1:
        return matched
    by_value = {a: donation.results[r].value for a, r in matched.items()}
    ordered = {a: donation.results[r].value for a, r in donation.order.items()}
    return matched if all(ordered.get(a) == v for a, v in by_value.items()) else None


def _only_matching(options: Mapping[int, list[int]], is_perfect: bool) -> dict[int, int] | None:
    """The one way to give every key one of its options, no option twice; None if there is none, or
    more than one. A graph with one perfect matching has a vertex of degree one on each side, so
    taking such vertices one by one finds it. is_perfect: every option has to be given away."""
    left = {a: list(rs) for a, rs in options.items()}
    found: dict[int, int] = {}
    while left:
        forced = _forced(left, is_perfect)
        if forced is None:
            return None
        a, r = forced
        found[a] = r
        del left[a]
        left = {other: [o for o in rs if o != r] for other, rs in left.items()}
    return found


def _forced(left: Mapping[int, list[int]], is_perfect: bool) -> tuple[int, int] | None:
    for a, rs in left.items():
        if len(rs) == 1:
            return a, rs[0]
    if is_perfect:
        every = [r for rs in left.values() for r in rs]
        for a, rs in left.items():
            for r in rs:
                if every.count(r) == 1:
                    return a, r
    return None
