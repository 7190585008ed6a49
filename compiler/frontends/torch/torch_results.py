"""The results of an exported torch program: what the user gets, then the tensors it has mutated.

torch.export puts the new values of mutated buffers and inputs before the user's outputs; we put
them after, so that the first results are those of the module.
"""

from __future__ import annotations

from typing import Any

from axonc.diagnostics import UnsupportedOpError
from axonc.imported.stablehlo_module import path_name


def mutated(program: Any) -> list[str]:
    """Names of the buffers and inputs that the program changes, in the order of its outputs."""
    return [spec.target for spec in program.graph_signature.output_specs if _is_mutation(spec)]


def updated_name(name: str) -> str:
    """The name of the result that is the new value of a mutated tensor."""
    return f"updated.{name}"


def _is_mutation(spec: Any) -> bool:
    """Raises: UnsupportedOpError for outputs that only training has."""
    from torch.export.graph_signature import OutputKind

    if spec.kind == OutputKind.USER_OUTPUT:
        return False
    if spec.kind in (OutputKind.BUFFER_MUTATION, OutputKind.USER_INPUT_MUTATION):
        return True
    raise UnsupportedOpError(
        f"the program has an output of kind {spec.kind.name}",
        hint="call model.eval() before exporting, and export the forward pass alone",
    )


def result_order(program: Any) -> list[int]:
    """Numbers of the graph's outputs in the order of the results."""
    specs = program.graph_signature.output_specs
    numbers = range(len(specs))
    return sorted(numbers, key=lambda i: _is_mutation(specs[i]))


def result_names(program: Any) -> list[str]:
    """The keys of the outputs (`last_hidden_state`), or `result0`, `result1` for a plain tuple;
    then the names of mutated tensors."""
    return _user_names(program) + [updated_name(name) for name in mutated(program)]


def _user_names(program: Any) -> list[str]:
    from torch.utils import _pytree as pytree

    specs = program.graph_signature.output_specs
    count = sum(not _is_mutation(spec) for spec in specs)
    tree = pytree.tree_unflatten(list(range(count)), program.call_spec.out_spec)
    paths = [pytree.keystr(path) for path, _ in pytree.tree_flatten_with_path(tree)[0]]
    if count == 1 and paths[0] in ("", "[0]"):
        return ["result"]
    return [_output_name(path) for path in paths]


def _output_name(path: str) -> str:
    name = path_name(path).lstrip(".")
    return f"result{name}" if name[:1].isdigit() or not name else name
