"""Import torchax for its table of op functions, and for nothing else.

Its import has two effects that we do not want. It fails on aten overloads that torch 2.13 dropped.
And it makes "jax" torch's accelerator, after which `torch.export` of cond and while_loop fails
("PyTorch is not linked with support for jax devices"). Both are held off here, only while it is
being imported. A user who imported torchax before has made that choice already.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

from axonc.diagnostics import UsageError
from axonc.frontends.torch.torch_weights import import_torch


def load_torchax() -> Any:
    """The module torchax, with its op table filled.

    Raises:
        UsageError: torch or torchax is not installed.
    """
    if "torchax.ops.jaten" not in sys.modules:
        import_torch()
        try:
            with _tamed_import():
                import torchax.export
                import torchax.ops.jaten
        except ImportError as error:
            hint = "pip install 'axonc[torch]'"
            raise UsageError(f"torch programs need torchax: {error}", hint=hint) from None
    import torchax

    torchax.default_env()
    return torchax


def torchax_table() -> Mapping[Any, Any]:
    """torchax's entries by aten op: `.func`, `.is_jax_function`.

    Raises:
        UsageError: as `load_torchax`.
    """
    load_torchax()
    from torchax.ops import ops_registry

    table: Mapping[Any, Any] = ops_registry.all_aten_ops
    return table


def jax_dtype(dtype: Any) -> Any:
    """The JAX dtype of a torch dtype, as torchax has it.

    Raises:
        UsageError: as `load_torchax`.
    """
    load_torchax()
    from torchax.ops import mappings

    return mappings.t2j_dtype(dtype)


class _GoneOverload:
    """Stands for an aten overload this torch does not have. torchax only uses it as a table key."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __repr__(self) -> str:
        return f"<no overload {self._name}>"


@contextmanager
def _tamed_import() -> Iterator[None]:
    import torch
    from torch._ops import OpOverloadPacket

    original = OpOverloadPacket.__getattr__

    def tolerant(packet: Any, key: str) -> Any:
        try:
            return original(packet, key)
        except AttributeError:
            if key.startswith("__"):
                raise
            return _GoneOverload(f"{packet}.{key}")

    with ExitStack() as patches:
        patches.enter_context(mock.patch.object(OpOverloadPacket, "__getattr__", tolerant))
        patches.enter_context(mock.patch.object(torch.utils, "rename_privateuse1_backend"))
        patches.enter_context(mock.patch.object(torch, "_register_device_module"))
        yield
