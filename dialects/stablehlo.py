"""StableHLO for the bindings: the namespace, and readers of its attributes.

The torch_mlir wheel registers the dialect and its attributes but ships no operation classes;
passes read operations generically. This module must exist, see `axonc.dialects`.
"""

from torch_mlir import ir
from torch_mlir._mlir_libs import _stablehlo

from axonc.dialects import _cext


@_cext.register_dialect
class StableHLO(ir.Dialect):
    """The dialect's namespace."""

    DIALECT_NAMESPACE = "stablehlo"


def dot_dimensions(op: ir.Operation) -> tuple[tuple[int, ...], ...]:
    """lhs batch, rhs batch, lhs contracting, rhs contracting dims of a `dot_general`."""
    d = _stablehlo.DotDimensionNumbers(op.attributes["dot_dimension_numbers"])
    return (
        tuple(d.lhs_batching_dimensions),
        tuple(d.rhs_batching_dimensions),
        tuple(d.lhs_contracting_dimensions),
        tuple(d.rhs_contracting_dimensions),
    )


def gather_dimensions(op: ir.Operation) -> _stablehlo.GatherDimensionNumbers:
    """Dimension numbers of a `gather`."""
    return _stablehlo.GatherDimensionNumbers(op.attributes["dimension_numbers"])


def scatter_dimensions(op: ir.Operation) -> _stablehlo.ScatterDimensionNumbers:
    """Dimension numbers of a `scatter`."""
    return _stablehlo.ScatterDimensionNumbers(op.attributes["scatter_dimension_numbers"])


def convolution_dimensions(op: ir.Operation) -> tuple[tuple[int, ...], ...]:
    """The dims of a `convolution`: (batch, feature, spatial ...) of the image, (output feature,
    input feature, spatial ...) of the kernel, and those of the result like the image's."""
    d = _stablehlo.ConvDimensionNumbers(op.attributes["dimension_numbers"])
    lhs = (d.input_batch_dimension, d.input_feature_dimension, *d.input_spatial_dimensions)
    rhs = (
        d.kernel_output_feature_dimension,
        d.kernel_input_feature_dimension,
        *d.kernel_spatial_dimensions,
    )
    result = (d.output_batch_dimension, d.output_feature_dimension, *d.output_spatial_dimensions)
    return lhs, rhs, result


def comparison_direction(op: ir.Operation) -> str:
    """ "EQ", "NE", "LT", "LE", "GT" or "GE"."""
    return _stablehlo.ComparisonDirectionAttr(op.attributes["comparison_direction"]).value


def comparison_type(op: ir.Operation) -> str:
    """ "FLOAT", "SIGNED", "UNSIGNED", "TOTALORDER", or "" when not said."""
    if "compare_type" not in op.attributes:
        return ""
    return _stablehlo.ComparisonTypeAttr(op.attributes["compare_type"]).value


def dense_integers(attribute: ir.Attribute) -> tuple[int, ...]:
    """Elements of an `array<i64: ...>` attribute."""
    return tuple(ir.DenseI64ArrayAttr(attribute))
