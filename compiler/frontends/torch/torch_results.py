"""The results of an exported torch program: what the user gets, the gradients of a joint graph
(`torch.export.experimental`), then the tensors it has mutated.

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


def _is_gradient(spec: Any) -> bool:
    from torch.export.graph_signature import OutputKind

    return spec.kind in (OutputKind.GRADIENT_TO_PARAMETER, OutputKind.GRADIENT_TO_USER_INPUT)


def _is_mutation(spec: Any) -> bool:
    """Raises: UnsupportedOpError for outputs of an unknown kind."""
    from torch.export.graph_signature import OutputKind

    if spec.kind in (OutputKind.USER_OUTPUT, OutputKind.LOSS_OUTPUT, OutputKind.TOKEN):
        return False
    if _is_gradient(spec):
        return False
    if spec.kind in (
        OutputKind.BUFFER_MUTATION,
        OutputKind.PARAMETER_MUTATION,
        OutputKind.USER_INPUT_MUTATION,
    ):
        return True
    raise UnsupportedOpError(
        f"the program has an output of kind {spec.kind.name}",
        hint="call model.eval() before exporting, and export the forward pass alone",
    )


def _is_fixed(spec: Any) -> bool:
    """An output that export has written down (None, a number, a string), or one that orders
    effects. It is no result."""
    from torch.export.graph_signature import ConstantArgument, OutputKind

    return spec.kind == OutputKind.TOKEN or isinstance(spec.arg, ConstantArgument)


def result_order(program: Any) -> list[int]:
    """Numbers of the graph's outputs in the order of the results."""
    specs = program.graph_signature.output_specs
    numbers = [i for i, spec in enumerate(specs) if not _is_fixed(spec)]
    return sorted(numbers, key=lambda i: (_is_mutation(specs[i]), _is_gradient(specs[i])))


def result_names(program: Any) -> list[str]:
    """The keys of the outputs (`last_hidden_state`), or `result0`, `result1` for a plain tuple;
    then the names of what the gradients are for, and of mutated tensors."""
    specs = program.graph_signature.output_specs
    gradients = [f"gradient.{s.target}" for s in specs if _is_gradient(s) and not _is_fixed(s)]
    updates = [updated_name(name) for name in mutated(program)]
    return _user_names(program) + gradients + updates


def _user_names(program: Any) -> list[str]:
    from torch.export.graph_signature import OutputKind
    from torch.utils import _pytree as pytree

    signature = program.graph_signature.output_specs
    kinds = (OutputKind.USER_OUTPUT, OutputKind.LOSS_OUTPUT)
    specs = [s for s in signature if s.kind in kinds]
    tree = pytree.tree_unflatten(list(range(len(specs))), program.call_spec.out_spec)
    spelled = [pytree.keystr(path) for path, _ in pytree.tree_flatten_with_path(tree)[0]]
    paths = [path for path, spec in zip(spelled, specs, strict=True) if not _is_fixed(spec)]
    if len(paths) == 1 and paths[0] in ("", "[0]"):
        return ["result"]
    return [_output_name(path) for path in paths]


def _output_name(path: str) -> str:
    name = path_name(path).lstrip(".")
    return f"result{name}" if name[:1].isdigit() or not name else name
