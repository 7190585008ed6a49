"""What torch programs are refused for, in words of ours: op, reason, what would work.

`REFUSED` names ops that have no lowering on purpose. Whatever a library raises while it traces an
op becomes one of these refusals too: its own text would speak of things the user never wrote.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
from torch.fx.experimental.symbolic_shapes import GuardOnDataDependentSymNode

from axonc.diagnostics import SourceLocation, UnsupportedOpError
from axonc.frontends.torch.torch_locations import NodeOrigin, frames_of, user_location


@dataclass(frozen=True)
class Refusal:
    """Why an op is not lowered, and what to do instead."""

    reason: str
    hint: str


SUPPORTED_HINT = (
    "write it with other operations; docs/reference/torch-operators.md has those that work"
)
_FACTORISATION = Refusal(
    "factorises or inverts a matrix, which a NeuronCore has no instructions for",
    "compute it outside of the program and pass the result as an input or a weight",
)
_RUN_TIME_SIZE = Refusal(
    "the size of its result is known at run time only",
    "keep the size: torch.where(mask, x, 0) or x * mask instead of a selection; topk or "
    "nonzero_static for a fixed number of places",
)
RUN_TIME_VALUE = Refusal(
    "a size, a place or a choice depends on values known at run time only",
    "take it from a Python number at export time, or write it with torch.where, gather or a mask",
)
_SPARSE = Refusal("sparse tensors are not supported", "use dense tensors: x.to_dense()")
_LOSS = Refusal(
    "the alignment of ctc_loss is not lowered",
    "compile the model up to its log-probabilities and compute the loss on the host",
)
_PACKED = Refusal(
    "packed sequences have a size known at run time only",
    "run the module on the padded batch and mask what is behind each end",
)


def _named(refusal: Refusal, names: str) -> dict[str, Refusal]:
    return dict.fromkeys(names.split(), refusal)


REFUSED: Mapping[str, Refusal] = {
    **_named(
        _FACTORISATION,
        "cholesky cholesky_inverse cholesky_solve geqrf ormqr triangular_solve lu_unpack "
        "linalg_cholesky_ex linalg_eig linalg_eigvals _linalg_eigvals _linalg_eigh _linalg_svd "
        "linalg_qr linalg_lu linalg_lu_factor linalg_lu_factor_ex linalg_lu_solve _linalg_solve_ex "
        "linalg_inv_ex _linalg_det _linalg_slogdet linalg_lstsq linalg_ldl_factor_ex "
        "linalg_ldl_solve linalg_solve_triangular linalg_matrix_exp linalg_householder_product "
        "linalg_pinv _linalg_check_errors",
    ),
    **_named(
        _RUN_TIME_SIZE,
        "nonzero argwhere _unique _unique2 unique_dim unique_consecutive unique_dim_consecutive "
        "bincount",
    ),
    **_named(_SPARSE, "_sparse_mm_reduce_impl _to_sparse to_sparse _sparse_coo_tensor_unsafe"),
    **_named(_LOSS, "_ctc_loss ctc_loss"),
    **_named(_PACKED, "_pack_padded_sequence _pad_packed_sequence"),
}
"""By the name of the op without its overload."""


def unsupported(reason: str, *, hint: str = "") -> UnsupportedOpError:
    """The error a lowering raises; the interpreter adds the op and the user's line."""
    return UnsupportedOpError(reason, hint=hint)


def refusal_of(target: Any) -> UnsupportedOpError | None:
    """The error for an op that is refused by name."""
    found = REFUSED.get(target.overloadpacket.__name__)
    return None if found is None else unsupported(found.reason, hint=found.hint)


def located(error: UnsupportedOpError, op: str, where: SourceLocation) -> UnsupportedOpError:
    """The error with its op and place, where it does not have them."""
    return UnsupportedOpError(
        error.message,
        location=error.location or where,
        op=error.op or op,
        pass_name=error.pass_name,
        hint=error.hint,
    )


_NEEDS_VALUE = (
    jax.errors.ConcretizationTypeError,
    jax.errors.NonConcreteBooleanIndexError,
    jax.errors.TracerArrayConversionError,
    jax.errors.TracerBoolConversionError,
    jax.errors.TracerIntegerConversionError,
    GuardOnDataDependentSymNode,
)
"""What is raised where Python wants the value of something computed at run time."""


def refusal_for(
    error: Exception, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> UnsupportedOpError:
    """The refusal instead of a library's exception."""
    if isinstance(error, _NEEDS_VALUE):
        return unsupported(RUN_TIME_VALUE.reason, hint=RUN_TIME_VALUE.hint)
    if isinstance(error, NotImplementedError):
        return unsupported(str(error) or "not supported")
    return unsupported(
        f"no lowering to StableHLO for these arguments: {signature(args, kwargs)}",
        hint=SUPPORTED_HINT,
    )


_EXECUTED = re.compile(r"call_function\[target=torch\.ops\.(?P<op>[\w.]+)\]")


def refusal_of_decomposing(error: Exception) -> UnsupportedOpError:
    """The refusal of a program that torch cannot write in its core operations; what torch says
    holds the operation and the user's stack."""
    said = "\n".join([str(error), *getattr(error, "__notes__", [])])
    executed = _EXECUTED.search(said)
    return UnsupportedOpError(
        "PyTorch cannot write this operation in its core ones",
        op=executed["op"] if executed else "",
        location=user_location(NodeOrigin("", frames_of(said))),
        hint=SUPPORTED_HINT,
    )


def signature(args: Sequence[Any], kwargs: Mapping[str, Any]) -> str:
    """`f32[2, 3], dim=1`: arguments as types and plain values."""
    spelled = [_spelled(a) for a in args] + [f"{k}={_spelled(v)}" for k, v in kwargs.items()]
    return ", ".join(spelled) or "none"


def _spelled(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_spelled, value))}]"
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return f"{str(value.dtype).removeprefix('torch.')}{list(value.shape)}"
    return str(value)
