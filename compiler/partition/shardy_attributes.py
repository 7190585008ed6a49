"""Meshes and shardings between Shardy's attributes (jaxlib) and ours."""

from __future__ import annotations

from jaxlib.mlir import ir
from jaxlib.mlir.dialects import sdy

from axonc.diagnostics import UnsupportedOpError
from axonc.imported.stablehlo_module import source_location, walk
from axonc.sharding import Mesh, Sharding

KEY = "sdy.sharding"
MESH_NAME = "mesh"

# Where ops that are not of one sharding per result keep theirs.
_OWN_SHARDING = {"sdy.reshard": "sharding", "sdy.sharding_constraint": "sharding"}
_COLLECTIVE_SHARDING = "out_sharding"
_MANUAL_RESULTS = "out_shardings"


def mesh_of(module: ir.Module) -> Mesh | None:
    """The mesh of a module; None when it has none with axes. Several of equal axes are one.

    Raises:
        UnsupportedOpError: meshes of different axes, or an order of devices of its own; beside a
            mesh, an operation that one device alone computes.
    """
    declared = [op for op in module.body.operations if op.operation.name == "sdy.mesh"]
    found = {_mesh(op) for op in declared}
    found.discard(Mesh(()))
    if found:
        for op in declared:
            _refuse_one_device(module, op)
    if len(found) > 1:
        raise UnsupportedOpError(
            f"the program uses {len(found)} meshes: {', '.join(sorted(map(str, found)))}",
            hint="build all shardings from one mesh",
        )
    return next(iter(found), None)


def _mesh(op: ir.OpView) -> Mesh:
    attribute = sdy.MeshAttr(op.operation.attributes["mesh"])
    axes = tuple((sdy.MeshAxisAttr(a).name, sdy.MeshAxisAttr(a).size) for a in attribute.axes)
    ids = list(attribute.device_ids)
    if axes and ids and ids != list(range(len(ids))):
        raise UnsupportedOpError(
            f"a mesh with its own order of devices: {ids[:8]}",
            hint="make the mesh of devices in ascending order; ranks are numbered by the mesh",
        )
    return Mesh(axes)


def _refuse_one_device(module: ir.Module, mesh: ir.OpView) -> None:
    """Raises: UnsupportedOpError if `mesh` is of one device and has no axes."""
    attribute = sdy.MeshAttr(mesh.operation.attributes["mesh"])
    ids = list(attribute.device_ids)
    if list(attribute.axes) or not ids:
        return
    name = f"@{ir.StringAttr(mesh.operation.attributes['sym_name']).value}"
    written = {op: " ".join(str(op.attributes[a]) for a in op.attributes) for op in walk(module)}
    users = [op for op, text in written.items() if f"<{name}," in text]
    raise UnsupportedOpError(
        f"an operation that device {ids[0]} alone computes",
        op=users[0].name if users else "",
        location=source_location(str(users[0].location)) if users else None,
        hint="callbacks are such: leave them to the host, outside of the program",
    )


def add_mesh(module: ir.Module, mesh: Mesh) -> None:
    """Declare `mesh` under `MESH_NAME` in a module that has none."""
    axes = [sdy.MeshAxisAttr.get(name, size) for name, size in mesh.axes]
    with module.context, ir.Location.unknown(), ir.InsertionPoint.at_block_begin(module.body):
        sdy.MeshOp(MESH_NAME, sdy.MeshAttr.get(axes))


def sharding_of_value(value: ir.Value) -> sdy.TensorShardingAttr | None:
    """Shardy's sharding of a value; None for a replicated one."""
    owner = value.owner
    if isinstance(owner, ir.Block):
        return _of_argument(owner, ir.BlockArgument(value).arg_number)
    op = owner if isinstance(owner, ir.Operation) else owner.operation
    index = ir.OpResult(value).result_number
    key = _OWN_SHARDING.get(op.name, _COLLECTIVE_SHARDING)
    if key in op.attributes:
        return sdy.TensorShardingAttr(op.attributes[key])
    if _MANUAL_RESULTS in op.attributes:
        return _per_value(op.attributes[_MANUAL_RESULTS])[index]
    return _per_value(op.attributes[KEY])[index] if KEY in op.attributes else None


def _of_argument(block: ir.Block, number: int) -> sdy.TensorShardingAttr | None:
    owner = block.owner
    op = owner if isinstance(owner, ir.Operation) else owner.operation
    if op.name != "func.func":
        return None
    return _of_function(op, "arg_attrs", number)


def _of_function(op: ir.Operation, which: str, number: int) -> sdy.TensorShardingAttr | None:
    if which not in op.attributes:
        return None
    entry = op.attributes[which][number]
    return sdy.TensorShardingAttr(entry[KEY]) if KEY in entry else None


def _per_value(attribute: ir.Attribute) -> list[sdy.TensorShardingAttr]:
    shardings = sdy.TensorShardingPerValueAttr(attribute).shardings
    return [sdy.TensorShardingAttr(s) for s in shardings]


def set_result_sharding(op: ir.Operation, index: int, sharding: sdy.TensorShardingAttr) -> None:
    """Change the sharding of one result of an op that has shardings."""
    shardings = _per_value(op.attributes[KEY])
    shardings[index] = sharding
    op.attributes[KEY] = sdy.TensorShardingPerValueAttr.get(shardings)


def dims_of(sharding: sdy.TensorShardingAttr) -> list[sdy.DimensionShardingAttr]:
    return [sdy.DimensionShardingAttr(d) for d in sharding.dimension_shardings]


def sharded_dims(sharding: sdy.TensorShardingAttr | None) -> set[int]:
    """The dims that are cut along some axis."""
    if sharding is None:
        return set()
    return {i for i, dim in enumerate(dims_of(sharding)) if len(dim.axes)}


def with_whole_dims(sharding: sdy.TensorShardingAttr, dims: set[int]) -> sdy.TensorShardingAttr:
    """The sharding without the axes of `dims`."""
    whole = sdy.DimensionShardingAttr.get([], True)
    kept = [whole if i in dims else d for i, d in enumerate(dims_of(sharding))]
    return sdy.TensorShardingAttr.get(sharding.mesh_or_ref, kept)


def parts_of_dim(dim: sdy.DimensionShardingAttr, mesh: Mesh) -> int:
    """Into how many parts a dim is cut; a sub-axis counts with its own size."""
    parts = 1
    for axis in map(sdy.AxisRefAttr, dim.axes):
        info = axis.sub_axis_info
        parts *= mesh.axis_size(axis.name) if info is None else sdy.SubAxisInfoAttr(info).size
    return parts


def uneven_dims(value: ir.Value, mesh: Mesh) -> set[int]:
    """The dims of a value whose size its sharding does not divide."""
    sharding = sharding_of_value(value)
    if sharding is None:
        return set()
    shape = ir.RankedTensorType(value.type).shape
    dims = enumerate(zip(shape, dims_of(sharding), strict=True))
    return {i for i, (size, dim) in dims if size % parts_of_dim(dim, mesh)}


def function_shardings(
    function: ir.OpView, mesh: Mesh
) -> tuple[tuple[Sharding, ...], tuple[Sharding, ...]]:
    """The shardings of the arguments and of the results of a function.

    Raises:
        UnsupportedOpError: an axis is cut further into sub-axes.
    """
    op, kind = function.operation, function.type
    arguments = [
        to_sharding(_of_function(op, "arg_attrs", i), t, mesh) for i, t in enumerate(kind.inputs)
    ]
    results = [
        to_sharding(_of_function(op, "res_attrs", i), t, mesh) for i, t in enumerate(kind.results)
    ]
    return tuple(arguments), tuple(results)


def to_sharding(attribute: sdy.TensorShardingAttr | None, kind: ir.Type, mesh: Mesh) -> Sharding:
    """Ours of Shardy's for a tensor of type `kind`.

    Raises:
        UnsupportedOpError: an axis is cut further into sub-axes.
    """
    if attribute is None:
        return Sharding.replicated(mesh, ir.RankedTensorType(kind).rank)
    dims = [[sdy.AxisRefAttr(a) for a in d.axes] for d in dims_of(attribute)]
    if any(a.sub_axis_info is not None for axes in dims for a in axes):
        raise UnsupportedOpError(
            f"sharding {attribute} splits an axis of the mesh",
            hint="give the mesh one axis for each way a dim is cut",
        )
    return Sharding(mesh, tuple(tuple(a.name for a in axes) for axes in dims))


def from_sharding(sharding: Sharding) -> sdy.TensorShardingAttr:
    """Shardy's of ours, closed, over the mesh called `MESH_NAME`."""
    dims = [
        sdy.DimensionShardingAttr.get([sdy.AxisRefAttr.get(a) for a in axes], True)
        for axes in sharding.dim_axes
    ]
    return sdy.TensorShardingAttr.get(MESH_NAME, dims)
