"""What a pass is and what it works on."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

from torch_mlir import ir
from torch_mlir.passmanager import PassManager as UpstreamManager


class State(Protocol):
    """What a pipeline works on."""

    def print(self) -> str:
        """The whole state as text."""
        ...

    def verify(self) -> None:
        """Raise when a rule of the level is broken."""
        ...

    def fingerprint(self) -> bytes:
        """Equal before and after a pass exactly when the pass changed nothing."""
        ...

    def snapshot(self) -> Callable[[], str]:
        """A cheap copy; calling it gives the text `print` would have given now."""
        ...

    def targets(self, anchor: str) -> list[Any]:
        """The objects a pass with this anchor is applied to."""
        ...


@dataclass
class ModuleState:
    """An MLIR module under compilation."""

    module: ir.Module
    reports: list[object] = field(default_factory=list)
    """What passes told of their work, in their order (see `Reporting`)."""

    def print(self) -> str:
        return self.module.operation.get_asm(enable_debug_info=False, assume_verified=True)

    def verify(self) -> None:
        """Raises MLIRError."""
        self.module.operation.verify()

    def _bytes(self) -> bytes:
        sink = _Bytes()
        self.module.operation.write_bytecode(sink)
        return bytes(sink.data)

    def fingerprint(self) -> bytes:
        return hashlib.sha256(self._bytes()).digest()

    def snapshot(self) -> Callable[[], str]:
        copy = self.module.operation.clone()
        return lambda: copy.get_asm(enable_debug_info=True, assume_verified=True)

    def targets(self, anchor: str) -> list[ir.Operation]:
        if anchor == "builtin.module":
            return [self.module.operation]
        found: list[ir.Operation] = []

        def visit(op: ir.Operation) -> ir.WalkResult:
            if op.name != anchor:
                return ir.WalkResult.ADVANCE
            found.append(op)
            return ir.WalkResult.SKIP

        self.module.operation.walk(visit, ir.WalkOrder.PRE_ORDER)
        return found


class _Bytes:
    """A file to write bytecode into."""

    def __init__(self) -> None:
        self.data = bytearray()

    def write(self, piece: bytes) -> None:
        self.data += piece


class Pass:
    """Base of our passes: `@dataclass(frozen=True) class XPass(Pass, name="x",
    anchor="func.func")`."""

    name: ClassVar[str]
    anchor: ClassVar[str]

    def __init_subclass__(cls, *, name: str, anchor: str = "builtin.module") -> None:
        cls.name, cls.anchor = name, anchor
        known = REGISTRY.get(name)
        if known and known.__module__ != cls.__module__:
            raise ValueError(f"pass '{name}' of {cls.__module__} is already in {known.__module__}")
        REGISTRY[name] = cls

    def apply(self, op: Any) -> bool:
        """Change one anchor object; whether anything changed."""
        raise NotImplementedError

    def run_on(self, state: State) -> tuple[State, bool]:
        """Apply to every anchor object. A pass that leads to the next level returns another
        state."""
        changed = False
        for target in state.targets(self.anchor):
            if isinstance(target, ir.Operation):
                with target.context, ir.Location.unknown():
                    changed |= self.apply(target)
            else:
                changed |= self.apply(target)
        return state, changed

    @classmethod
    def summary(cls) -> str:
        """First line of the description."""
        return (cls.__doc__ or "").strip().splitlines()[0]


REGISTRY: dict[str, type[Pass]] = {}


class Reporting:
    """A pass that tells what it did. The report travels with the state: a pass stays as it is, and
    may be run again."""

    anchor: ClassVar[str]

    def apply_and_report(self, op: ir.Operation) -> tuple[bool, Sequence[object]]:
        """Change one anchor object; whether anything changed, and what there is to tell."""
        raise NotImplementedError

    def run_on(self, state: State) -> tuple[State, bool]:
        """Apply to every anchor object of a `ModuleState`."""
        assert isinstance(state, ModuleState)
        changed = False
        for target in state.targets(self.anchor):
            with target.context, ir.Location.unknown():
                has_changed, reports = self.apply_and_report(target)
            changed |= has_changed
            state.reports.extend(reports)
        return state, changed


class ComparedByFingerprint:
    """A pass that cannot say whether it changed anything: the state before and after does."""

    def run_on(self, state: State) -> tuple[State, bool]:
        before = state.fingerprint()
        super().run_on(state)  # type: ignore[misc]  # mixed into a Pass
        return state, state.fingerprint() != before


@dataclass(frozen=True)
class UpstreamPass(ComparedByFingerprint, Pass, name="upstream"):
    """MLIR's own passes, by a textual pipeline without its outermost `builtin.module(...)`."""

    pipeline: str = ""

    @property
    def label(self) -> str:
        return self.pipeline

    def apply(self, op: ir.Operation) -> bool:
        UpstreamManager.parse(f"builtin.module({self.pipeline})").run(op)
        return False  # fingerprints are compared


def pass_label(item: Pass) -> str:
    """How a pass is named in dumps and messages."""
    return getattr(item, "label", item.name)
