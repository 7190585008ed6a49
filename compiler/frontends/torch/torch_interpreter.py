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

from axonc.diagnostics import AxoncError, UnsupportedOpError
from axonc.frontends.torch.torch_conforming import conformed
from axonc.frontends.torch.torch_experts import expert_lowering
from axonc.frontends.torch.torch_integer_ops import with_float_numbers
from axonc.frontends.torch.torch_locations import NodeOrigin, origin_of, scope_name, user_location
from axonc.frontends.torch.torch_masked_rows import (
    MaskedRows,
    apply,
    has_masked_rows,
    result_refusal,
)
from axonc.frontends.torch.torch_ops import (
    LOWERINGS,
    SEES_KNOWN_VALUES,
    attention_with_dropout,
    to_jax,
)
from axonc.frontends.torch.torch_random import RANDOM_LOWERINGS, RandomKeys, draw_for, is_random
from axonc.frontends.torch.torch_refusals import (
    SUPPORTED_HINT,
    located,
    refusal_for,
    refusal_of,
    unsupported,
)
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
        if n.op == "output":
            self._refuse_selections(n)
        if n.op != "call_function":
            return super().run_node(n)
        origin = origin_of(n)
        self.origins.append(origin)
        if self._is_fixed(n):
            return self._evaluate(n)
        with jax.named_scope(scope_name(len(self.origins) - 1)):
            try:
                return conformed(self._lowered(n), n.meta.get("val"))
            except UnsupportedOpError as error:
                raise located(error, str(n.target), user_location(origin)) from error
            except AxoncError:
                raise
            except Exception as error:
                args, kwargs = self.fetch_args_kwargs_from_env(n)
                refusal = refusal_for(error, args, kwargs)
                raise located(refusal, str(n.target), user_location(origin)) from error

    def _refuse_selections(self, output: torch.fx.Node) -> None:
        for n in output.all_input_nodes:
            if isinstance(self.env[n], MaskedRows):
                raise located(result_refusal(), str(n.target), user_location(origin_of(n)))

    def _lowered(self, n: torch.fx.Node) -> Any:
        return self._draw(n) if is_random(n) else super().run_node(n)

    def _draw(self, n: torch.fx.Node) -> Any:
        fetched = self.fetch_args_kwargs_from_env(n)
        args, kwargs = torch.fx.node.map_aggregate(fetched, to_jax)
        draw = draw_for(n, self.keys.next(), jax_dtype)
        if n.target not in RANDOM_LOWERINGS:
            return attention_with_dropout(draw, *args, **kwargs)
        return RANDOM_LOWERINGS[n.target](draw, *args, **kwargs)

    def call_function(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        args, kwargs = _plain(args), _plain(kwargs)
        if target not in SEES_KNOWN_VALUES:
            args, kwargs = torch.fx.node.map_aggregate((args, kwargs), to_jax)
            args, kwargs = _plain(args), _plain(kwargs)
        if isinstance(target, torch._ops.HigherOrderOperator):
            return self._control_flow(target, args)
        if not isinstance(target, torch._ops.OpOverload):
            return super().call_function(target, args, kwargs)
        lowering = _lowering(target)

        def lowered(*operands: Any, **options: Any) -> Any:
            return lowering(*with_float_numbers(target, operands), **options)

        if has_masked_rows(args, kwargs) is not None:
            return apply(target, lowered, args, kwargs)
        return lowered(*args, **kwargs)

    def _is_fixed(self, n: torch.fx.Node) -> bool:
        """Whether the node has a small value that no input of the program can change."""
        value = n.meta.get("val")
        if not isinstance(n.target, torch._ops.OpOverload) or not isinstance(value, torch.Tensor):
            return False
        seeded = torch.Tag.nondeterministic_seeded in n.target.tags
        if seeded or n.target.overloadpacket.__name__ in _UNINITIALISED:
            return False
        if not all(isinstance(self.env[i], _FIXED) for i in n.all_input_nodes):
            return False
        # A size that depends on values (of an index of a constant) is found by evaluating.
        has_size = all(isinstance(size, int) for size in value.shape)
        return not has_size or value.numel() * value.element_size() <= FOLDED_BYTES

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


def _plain(value: Any) -> Any:
    """fx's immutable lists and dicts as those of Python, which lowerings may add and multiply."""
    if isinstance(value, dict):
        return {key: _plain(v) for key, v in value.items()}
    if isinstance(value, list):
        return [_plain(v) for v in value]
    return tuple(map(_plain, value)) if type(value) is tuple else value


def _lowering(target: Any) -> Callable[..., Any]:
    """Ours, or torchax's if it is of plain JAX.

    Raises:
        UnsupportedOpError: neither, or the op is refused by name.
    """
    found = LOWERINGS.get(target) or expert_lowering(target)
    if found is not None:
        return found
    refusal = refusal_of(target)
    if refusal is not None:
        raise refusal
    table = torchax_table()
    entry = table.get(target) or table.get(target.overloadpacket)
    if entry is None or not entry.is_jax_function:
        raise unsupported("no lowering to StableHLO for this torch op", hint=SUPPORTED_HINT)
    function: Callable[..., Any] = entry.func
    return function


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
