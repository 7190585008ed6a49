"""PyTorch programs, as `torch.export.ExportedProgram` or a module -> `ImportedProgram`.

The exported graph is run once, abstractly, with JAX functions for its ops (torchax, `torch_ops`);
JAX writes the StableHLO. Weights stay where torch has them and are never copied.
torch is imported inside functions: everything else in axonc works without it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp

from axonc.diagnostics import UnsupportedOpError
from axonc.frontends.jax_frontend import copy_module
from axonc.frontends.torch.torch_arguments import restore_inputs
from axonc.frontends.torch.torch_locations import relocate
from axonc.frontends.torch.torch_results import mutated, result_names, result_order, updated_name
from axonc.frontends.torch.torch_weights import import_torch, weights_of
from axonc.frontends.torch.torchax_import import jax_dtype, load_torchax
from axonc.imported import stablehlo_module
from axonc.imported.constants import LARGE_BYTES
from axonc.imported.program import ImportedProgram, bind_arrays
from axonc.partition.finish import finish_import
from axonc.weights.references import held_copy, is_absent

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class GraphInput:
    """One placeholder: a named tensor the program keeps (`state`) or takes on each call, or a value
    fixed at export time (`constant`).
    """

    name: str
    kind: str
    value: Any


def import_exported_program(
    program: torch.export.ExportedProgram, *, weights_file: str | Path | None = None
) -> ImportedProgram:
    """Import an exported program. Parameters and buffers become weights under their torch names,
    referring to torch's memory, or to `weights_file` (.safetensors, .npz). What the program mutates
    is an input under its torch name; its new value is a result, `updated.<name>`, after the others.

    Raises:
        UsageError: torch or torchax missing; weights without data; a weight missing in the file.
        UnsupportedOpError: an op without lowering, a dynamic shape.
    """
    load_torchax()
    program = _decomposed(program)
    inputs = _graph_inputs(program)
    names, types, lowered, origins = _trace(program, inputs)
    module = copy_module(lowered.compiler_ir("stablehlo"), stablehlo_module.new_context())
    changed = mutated(program)
    wanted = {i: types[name] for i, name in enumerate(names) if name not in changed}
    restore_inputs(module, wanted)
    arguments = _torch_names(module, names)
    relocate(module, origins)
    imported = finish_import(module, argument_names=arguments, result_names=result_names(program))
    imported = _with_aliases(imported, program)
    imported = _with_initial_state(imported, inputs, weights_file)
    state = {i.name: i.value for i in inputs if i.kind == "state"}
    used = [a.name for a in imported.inputs if a.name in state]
    refs = weights_of(state, used, weights_file)
    return bind_arrays(imported, refs) if refs else imported


def import_module(
    model: torch.nn.Module,
    inputs: Sequence[Any],
    keyword_inputs: Mapping[str, Any] | None = None,
    *,
    weights_file: str | Path | None = None,
) -> ImportedProgram:
    """Export `model` in eval mode for example inputs of the wanted shapes, then import it.

    Raises:
        UsageError: torch is missing.
        UnsupportedOpError: as `import_exported_program`.
    """
    torch = import_torch()
    training = model.training
    try:
        program = torch.export.export(
            model.eval(), tuple(inputs), dict(keyword_inputs or {}), strict=False
        )
    finally:
        model.train(training)
    return import_exported_program(program, weights_file=weights_file)


def _decomposed(program: Any) -> Any:
    """Core aten ops, except those that become composites."""
    from torch.export import default_decompositions
    from torchax import decompositions

    from axonc.frontends.torch.torch_ops import KEPT_WHOLE
    from axonc.frontends.torch.torch_refusals import refusal_of_decomposing

    table = default_decompositions()
    for op in KEPT_WHOLE:
        table.pop(op, None)
    second = {k: v for k, v in decompositions.DECOMPOSITIONS.items() if k not in KEPT_WHOLE}
    try:
        return program.run_decompositions(table).run_decompositions(second)
    except Exception as error:
        raise refusal_of_decomposing(error) from error


def _with_aliases(imported: ImportedProgram, program: Any) -> ImportedProgram:
    """Mutated tensors that the program reads give their memory to their new values."""
    names = {a.name for a in imported.arguments}
    aliases = {n: updated_name(n) for n in mutated(program) if n in names}
    return replace(imported, aliases=aliases) if aliases else imported


def _with_initial_state(
    imported: ImportedProgram, inputs: Sequence[GraphInput], weights_file: str | Path | None
) -> ImportedProgram:
    """Mutated buffers begin with the values they have now; the module may go on to change them."""
    held = {i.name: i.value for i in inputs if i.kind == "input" and i.value is not None}
    used = [name for name in imported.aliases if name in held]
    refs = {name: held_copy(ref) for name, ref in weights_of(held, used, weights_file).items()}
    known = {name: ref for name, ref in refs.items() if not is_absent(ref)}
    return replace(imported, initial_state=known)


def _graph_inputs(program: Any) -> list[GraphInput]:
    from torch.export.graph_signature import InputKind, TensorArgument

    stores = {
        InputKind.PARAMETER: program.state_dict,
        InputKind.BUFFER: {**program.constants, **program.state_dict},
        InputKind.CONSTANT_TENSOR: program.constants,
    }
    inputs = []
    changed = mutated(program)
    for spec in program.graph_signature.input_specs:
        if spec.kind in stores:
            value = stores[spec.kind][spec.target]
            kind = "constant" if _is_structural(spec, value) else "state"
            kind = "input" if spec.target in changed else kind
            inputs.append(GraphInput(spec.target, kind, value))
        elif spec.kind == InputKind.USER_INPUT and isinstance(spec.arg, TensorArgument):
            inputs.append(GraphInput(spec.arg.name, "input", None))
        elif spec.kind in (InputKind.USER_INPUT, InputKind.TOKEN):
            inputs.append(GraphInput(spec.arg.name, "constant", getattr(spec.arg, "value", None)))
        else:
            raise UnsupportedOpError(f"graph input '{spec.arg.name}' of kind {spec.kind.name}")
    return inputs


def _is_structural(spec: Any, value: Any) -> bool:
    """Small tensors that belong to the program, not to a checkpoint (position ids, index tables):
    they become constants, so that what follows from them can be computed at import time.
    """
    if value.device.type == "meta" or value.numel() * value.element_size() > LARGE_BYTES:
        return False
    from torch.export.graph_signature import InputKind

    if spec.kind == InputKind.PARAMETER:
        return False
    return not spec.persistent or not value.is_floating_point()


def _trace(
    program: Any, inputs: list[GraphInput]
) -> tuple[list[str], dict[str, jax.ShapeDtypeStruct], jax.stages.Lowered, list[Any]]:
    """(names of the call inputs, types by name, lowered program, origin of each node). 64-bit stays
    64-bit."""
    from axonc.frontends.torch.torch_interpreter import GraphInterpreter
    from axonc.frontends.torch.torch_ops import to_jax
    from axonc.frontends.torch.torch_random import KEY_TYPE, RANDOM_KEY, RandomKeys, draws

    interpreter = GraphInterpreter(program.graph_module)
    placeholders = [n for n in program.graph.nodes if n.op == "placeholder"]
    types = {
        i.name: _abstract(n, i.name)
        for i, n in zip(inputs, placeholders, strict=True)
        if i.kind != "constant"
    }
    names = [i.name for i in inputs if i.kind == "input"]
    if draws(program.graph_module):
        names.append(RANDOM_KEY)
        types[RANDOM_KEY] = KEY_TYPE
    order = result_order(program)

    def run(weights: dict[str, jax.Array], call: list[jax.Array]) -> tuple[Any, ...]:
        given = dict(zip(names, call, strict=True))
        interpreter.keys = RandomKeys(given.get(RANDOM_KEY))
        values = [_value_of(i, weights, given) for i in inputs]
        found = tuple(interpreter.run(*values, enable_io_processing=False))
        return tuple(jnp.asarray(to_jax(found[number])) for number in order)

    weights = {i.name: types[i.name] for i in inputs if i.kind == "state"}
    with jax.enable_x64(True):
        lowered = jax.jit(run).lower(weights, [types[n] for n in names])
    return names, types, lowered, interpreter.origins


def _value_of(graph_input: GraphInput, weights: Mapping[str, Any], call: Mapping[str, Any]) -> Any:
    sources: dict[str, Callable[[], Any]] = {
        "state": lambda: weights[graph_input.name],
        "input": lambda: call[graph_input.name],
        "constant": lambda: graph_input.value,
    }
    return sources[graph_input.kind]()


def _abstract(node: Any, name: str) -> jax.ShapeDtypeStruct:
    value = node.meta["val"]
    if not all(isinstance(size, int) for size in value.shape):
        raise UnsupportedOpError(
            f"input '{name}' has the dynamic shape {tuple(value.shape)}",
            hint="export without dynamic_shapes, once for each size needed",
        )
    return jax.ShapeDtypeStruct(tuple(value.shape), jax_dtype(value.dtype))


_TRACED_NAME = re.compile(r"(?P<group>weights|call)(?:\['(?P<key>[^']+)'\]|\[(?P<index>\d+)\])")


def _torch_names(module: Any, call_names: list[str]) -> list[str]:
    """The torch names of the arguments of the traced `run(weights, call)` that are left."""
    main = stablehlo_module.main_function(module)
    found = [_TRACED_NAME.fullmatch(a.location.name_str) for a in main.arguments]
    return [m["key"] or call_names[int(m["index"])] for m in found if m is not None]
