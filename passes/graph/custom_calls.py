"""Custom calls, which cannot be compiled: what a finding calls them and says of them."""

from __future__ import annotations

from torch_mlir import ir

from axonc.diagnostics import FOREIGN

ANY_FORM = "'axonc list-operators' tells what can be compiled"
_ON_THE_HOST = ("lapack_", "blas_", "xla_python_", "xla_ffi_")
"""How the names of calls begin that run on the host."""


def called(op: ir.Operation) -> str:
    """The name of an operation; that of another dialect's, for which a custom call stands."""
    target = _target(op)
    return target.removeprefix(FOREIGN) if target.startswith(FOREIGN) else op.name


def custom_call_problem(op: ir.Operation) -> tuple[str, str]:
    """(reason, hint): why a custom call cannot be compiled."""
    target = _target(op)
    if target.startswith(FOREIGN):
        return "not StableHLO", "lower the program to StableHLO (and func) ops first"
    if target.startswith(_ON_THE_HOST):
        return (
            f"custom call @{target}",
            "LAPACK (cholesky, solve, eigh, svd) and callbacks run on the host: leave them to it, "
            "outside of the program",
        )
    return f"custom call @{target}", ANY_FORM


def _target(op: ir.Operation) -> str:
    if op.name != "stablehlo.custom_call":
        return ""
    return ir.StringAttr(op.attributes["call_target_name"]).value
