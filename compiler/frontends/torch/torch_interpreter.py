"""Run a torch.export graph with JAX functions, each node under a scope that tells its origin.

Nodes that depend on no input (positions, masks, index tables) are evaluated by torch itself while
they are small, and enter the program as constants.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import torch

from axonc.diagnostics import AxoncError, CompileError, SourceLocation, UnsupportedOpError
from axonc.frontends.torch.torch_integer_ops import with_float_numbers
from axonc.frontends.torch.torch_locations import NodeOrigin, origin_of, scope_name
from axonc.frontends.torch.torch_ops import (
    LOWERINGS,
    SEES_KNOWN_VALUES,
    attention_with_dropout,
    to_jax,
)
from axonc.frontends.torch.torch_random import RANDOM_LOWERINGS, RandomKeys, draw_for, is_random
from axonc.frontends.torch.torchax_import import jax_dtype, torchax_table

# Values computed at import time are kept up to this size; a larger one is cheaper to compute.
FOLDED_BYTES = 64 * 1024

# Their content is undefined, so there is no value to fold.
_UNINITIALISED = ("empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided")


class GraphInterpreter(torch.fx.Interpreter):
    """Evaluates nodes on JAX arrays or tracers; `origins[i]` is the origin of the node traced under
    scope i. keys: what random numbers are drawn with. Control flow shares both with the
    interpreters of its branches.
    """

    def __init__(
        self,
        graph_module: torch.fx.GraphModule,
        origins: list[NodeOrigin] | None = None,
        keys: RandomKeys | None = None,
    ) -> None:
        super().__init__(graph_module)
        self.origins: list[NodeOrigin] = [] if origins is None else origins
        self.keys = RandomKeys() if keys is None else keys

    def run_node(self, n: torch.fx.Node) -> Any:
        if n.op != "call_function":
            return super().run_node(n)
        origin = origin_of(n)
        self.origins.append(origin)
        if self._is_fixed(n):
            return self._evaluate(n)
        with jax.named_scope(scope_name(len(self.origins) - 1)):
            try:
                return self._draw(n) if is_random(n) else super().run_node(n)
            except AxoncError:
                raise
            except NotImplementedError as error:
                raise UnsupportedOpError(
                    str(error), location=_user_location(origin), op=str(n.target)
                ) from error
            except Exception as error:
                message = f"cannot be lowered to StableHLO: {type(error).__name__}: {error}"
                raise CompileError(
                    message, location=_user_location(origin), op=str(n.target)
                ) from error

    def _draw(self, n: torch.fx.Node) -> Any:
        fetched = self.fetch_args_kwargs_from_env(n)
        args, kwargs = torch.fx.node.map_aggregate(fetched, to_jax)
        draw = draw_for(n, self.keys.next(), jax_dtype)
        if n.target not in RANDOM_LOWERINGS:
            return attention_with_dropout(draw, *args, **kwargs)
        return RANDOM_LOWERINGS[n.target](draw, *args, **kwargs)

    def call_function(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if target not in SEES_KNOWN_VALUES:
            args, kwargs = torch.fx.node.map_aggregate((args, kwargs), to_jax)
        if isinstance(target, torch._ops.HigherOrderOperator):
            return self._control_flow(target, args)
        if not isinstance(target, torch._ops.OpOverload):
            return super().call_function(target, args, kwargs)
        return _lowering(target)(*with_float_numbers(target, args), **kwargs)

    def _is_fixed(self, n: torch.fx.Node) -> bool:
        """Whether the node has a small value that no input of the program can change."""
        value = n.meta.get("val")
        if not isinstance(n.target, torch._ops.OpOverload) or not isinstance(value, torch.Tensor):
            return False
        seeded = torch.Tag.nondeterministic_seeded in n.target.tags
        if seeded or n.target.overloadpacket.__name__ in _UNINITIALISED:
            return False
        if value.numel() * value.element_size() > FOLDED_BYTES:
            return False
        return all(isinstance(self.env[i], _FIXED) for i in n.all_input_nodes)

    def _evaluate(self, n: torch.fx.Node) -> Any:
        args, kwargs = self.fetch_args_kwargs_from_env(n)
        with torch.no_grad():
            return n.target(*args, **kwargs)  # type: ignore[operator]

    def _control_flow(self, target: Any, args: tuple[Any, ...]) -> Any:
        name = target.name()
        if name not in _CONTROL_FLOW:
            raise NotImplementedError(f"higher-order operator {name} has no lowering")
        return _CONTROL_FLOW[name](self, *args)

    def branch(self, graph_module: Any, values: tuple[Any, ...]) -> tuple[Any, ...]:
        """Evaluate a branch or loop body; always a tuple of results."""
        inner = GraphInterpreter(graph_module, self.origins, self.keys)
        result = inner.run(*map(to_jax, values), enable_io_processing=False)
        return tuple(result) if isinstance(result, (tuple, list)) else (result,)


_FIXED = (torch.Tensor, int, float, bool)


def _lowering(target: Any) -> Callable[..., Any]:
    if target in LOWERINGS:
        return LOWERINGS[target]
    table = torchax_table()
    found = table.get(target) or table.get(target.overloadpacket)
    if found is None or not found.is_jax_function:
        raise NotImplementedError("no lowering to StableHLO for this torch op")
    return found.func


def _user_location(origin: NodeOrigin) -> SourceLocation:
    if not origin.frames:
        return SourceLocation(origin.path)
    frame = origin.frames[-1]
    return SourceLocation(origin.path, frame.file, frame.line, 1)


def _cond(
    interpreter: GraphInterpreter, predicate: Any, if_true: Any, if_false: Any, operands: Any
) -> Any:
    return jax.lax.cond(
        jnp.asarray(to_jax(predicate)).reshape(()),
        lambda values: interpreter.branch(if_true, values),
        lambda values: interpreter.branch(if_false, values),
        tuple(map(to_jax, operands)),
    )


def _while_loop(
    interpreter: GraphInterpreter, condition: Any, body: Any, carried: Any, extra: Any
) -> Any:
    return jax.lax.while_loop(
        lambda values: interpreter.branch(condition, (*values, *extra))[0].reshape(()),
        lambda values: interpreter.branch(body, (*values, *extra)),
        tuple(jnp.asarray(to_jax(v)) for v in carried),
    )


_CONTROL_FLOW: dict[str, Callable[..., Any]] = {"cond": _cond, "while_loop": _while_loop}
