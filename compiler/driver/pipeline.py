"""The named pipelines: every stage in order, with the reason for the order."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from torch_mlir import ir

from axonc.backends.numerics.quantize import FORMATS
from axonc.context import make_context, parse_module
from axonc.diagnostics import UsageError
from axonc.dialects.attributes import integer_array
from axonc.dialects.neuron.argument_names import ALIAS, INFINITE, NAME, PARTS, WEIGHT
from axonc.imported.program import Argument, ImportedProgram
from axonc.options import CompileOptions
from axonc.passes.base import Pass, UpstreamPass
from axonc.passes.canonicalize.fold_batch_norm import FoldBatchNormPass
from axonc.passes.canonicalize.group_repeated_heads import GroupRepeatedHeadsPass
from axonc.passes.canonicalize.guard_masked_softmax import GuardMaskedSoftmaxPass
from axonc.passes.canonicalize.merge_views import MergeViewsPass
from axonc.passes.canonicalize.sink_reshape import SinkReshapePass
from axonc.passes.canonicalize.sink_transpose import SinkTransposePass
from axonc.passes.cast.auto_cast import AutoCastPass
from axonc.passes.cast.cast_data import CastData
from axonc.passes.cast.plan_casts import PlanCastsPass
from axonc.passes.cast.quantize import QuantizePass
from axonc.passes.control.split_control_flow import SplitControlFlowPass
from axonc.passes.fuse.add_before_reduce import AddBeforeReducePass
from axonc.passes.fuse.fuse_dot_epilogue import FuseDotEpiloguePass
from axonc.passes.fuse.fuse_elementwise import FuseElementwisePass
from axonc.passes.fuse.split_attention import SplitAttentionPass
from axonc.passes.fuse.split_feed_forward import SplitFeedForwardPass
from axonc.passes.fuse.split_kernels import SplitKernelsPass
from axonc.passes.fuse.split_reductions import SplitReductionsPass
from axonc.passes.fuse.split_wide_results import SplitWideResultsPass
from axonc.passes.graph.module import main_function
from axonc.passes.legalize.legalize_to_neuron import LegalizeToNeuronPass
from axonc.passes.prepare.expand.expand_complex import ExpandComplexPass
from axonc.passes.prepare.expand.expand_random import ExpandRandomPass
from axonc.passes.prepare.expand.expand_small_types import ExpandSmallTypesPass
from axonc.passes.prepare.flatten_control_flow import FlattenControlFlowPass
from axonc.passes.prepare.inline_blocks import InlineBlocksPass
from axonc.passes.prepare.inline_calls import InlineCallsPass
from axonc.passes.prepare.narrow_integers import NarrowIntegersPass
from axonc.passes.prepare.outline_blocks import OutlineBlocksPass
from axonc.passes.prepare.regions.expand_regions import ExpandRegionsPass
from axonc.passes.prepare.scan_windows import ScanWindowsPass
from axonc.passes.prepare.simplify import SimplifyPass
from axonc.passes.recognize.recognize_gelu import RecognizeGeluPass
from axonc.passes.recognize.recognize_layer_norm import RecognizeLayerNormPass
from axonc.passes.recognize.recognize_silu import RecognizeSiluPass
from axonc.passes.recognize.recognize_softmax import RecognizeSoftmaxPass
from axonc.weights.references import WeightRef, is_absent


@dataclass(frozen=True)
class TensorOptions:
    """What the tensor passes are told. By default nothing is cast and no layers are repeated."""

    chosen: CompileOptions = field(default_factory=lambda: CompileOptions(optlevel=3))
    cast_data: CastData = field(default_factory=CastData)
    """Weights and samples that casts may look at."""

    @property
    def plans_casts(self) -> bool:
        """Whether casts are chosen operation by operation: then every layer is one of its own, and
        needs its own locations, which outlined blocks have not."""
        return self._plan_casts().is_needed

    @property
    def repeats_layers(self) -> bool:
        """Whether equal layers become one block."""
        return self.chosen.repeat_layers and not self.plans_casts

    def cast_passes(self) -> tuple[Pass, ...]:
        """What decides on casts and makes them."""
        kind = self.chosen.auto_cast_type
        # 8 bits are for what the tensor engine reads: other values are kept in bf16.
        wide = "bf16" if kind in FORMATS else kind
        # Quantize last: auto-cast has then settled the types that products are rounded to.
        casts = (
            self._plan_casts(),
            AutoCastPass(self.chosen.auto_cast, wide),
            QuantizePass(self.chosen.weight_scale),
        )
        return (InlineBlocksPass(), *casts) if self.plans_casts else casts

    def _plan_casts(self) -> PlanCastsPass:
        chosen = self.chosen
        return PlanCastsPass(
            chosen.auto_cast,
            chosen.auto_cast_type,
            chosen.weight_dtype,
            chosen.weight_scale,
            chosen.auto_cast_override,
            chosen.auto_cast_budget,
            chosen.target,
            self.cast_data,
        )


def stablehlo_pipeline(options: TensorOptions) -> tuple[Pass, ...]:
    """StableHLO as it comes -> StableHLO that legalisation reads."""
    # Before equal operations are merged across layers, which then look alike no more. At once, so
    # that all others see one layer only; and again for layers that were calls.
    outline = (OutlineBlocksPass(),) if options.repeats_layers else ()
    return (
        *outline,
        InlineCallsPass(),
        # Layers of a loop are layers from here on.
        FlattenControlFlowPass(),
        # Keys of random numbers are numbered over all blocks.
        ExpandRandomPass(before_blocks=True),
        # From here on, what control flow is left runs between blocks, each like a program.
        SplitControlFlowPass(),
        *outline,
        *expansions(),
        SimplifyPass(),
        # Before integers are narrowed: 64-bit ones in two words have no windows but sums.
        ScanWindowsPass(),
        # Likewise: 64-bit ones in two words have no regions. After scans, which it would take for
        # windows that overlap.
        ExpandRegionsPass(),
        # After inlining: only then is the constant beside an addition visible.
        NarrowIntegersPass(allow_lossy=options.chosen.allow_lossy_integers),
    )


def expansions() -> tuple[Pass, ...]:
    """What makes simple StableHLO of types and algorithms that the machine does not have."""
    return (ExpandRandomPass(), ExpandComplexPass(), ExpandSmallTypesPass())


def tensor_pipeline(options: TensorOptions | None = None) -> tuple[Pass, ...]:
    """StableHLO as it comes -> fused neuron operations, ready to be tiled."""
    options = options or TensorOptions()
    return (
        *stablehlo_pipeline(options),
        LegalizeToNeuronPass(),
        # Before the recognisers, which then see one spelling of every broadcast.
        MergeViewsPass(),
        UpstreamPass("func.func(cse)"),
        RecognizeSoftmaxPass(),
        RecognizeLayerNormPass(),
        RecognizeGeluPass(),
        RecognizeSiluPass(),
        # While dots still read the softmax itself.
        GuardMaskedSoftmaxPass(),
        # Repeats stand right in front of their dots then.
        SinkTransposePass(),
        # Before reshapes sink: it leaves one below each dot.
        GroupRepeatedHeadsPass(),
        # After the recognisers, whose patterns it would bend; before casts, which follow producers.
        SinkReshapePass(),
        MergeViewsPass(),
        # Broadcasts are merged: the vectors are visible. Before casts, which would hide the chains.
        FoldBatchNormPass(),
        # After the recognisers, for which a mean is one reduction.
        SplitReductionsPass(),
        SplitKernelsPass(target=options.chosen.target),
        # Before casts are hoisted over transposes: fewer of them are left.
        SinkTransposePass(),
        # Before fusion, so that conversions join the graph that makes their operand.
        *options.cast_passes(),
        UpstreamPass("func.func(cse)"),
        # It fuses addends apart from the product, and early. After casts, which know no regions.
        AddBeforeReducePass(),
        FuseElementwisePass(),
        # It turns a whole fused graph into an epilogue.
        FuseDotEpiloguePass(),
        # Last: scale and mask are in the scores' epilogue, so a group of heads is three operations.
        SplitAttentionPass(),
        # Likewise: activation, bias and residual are in the epilogues.
        SplitFeedForwardPass(),
        SplitWideResultsPass(),
    )


def load_module(source: ImportedProgram | ir.Module | bytes | str) -> ir.Module:
    """An MLIR module in a context of ours; arguments and results of an imported program are
    named."""
    if isinstance(source, ir.Module):
        return source
    if not isinstance(source, ImportedProgram):
        return parse_module(source, make_context())
    module = parse_module(source.module_bytes, make_context())
    with module.context, ir.Location.unknown():
        _attach_names(main_function(module.operation), source)
    return module


def _attach_names(main: ir.Operation, program: ImportedProgram) -> None:
    block = main.regions[0].blocks[0]
    if len(block.arguments) != len(program.arguments):
        raise UsageError(
            f"@main has {len(block.arguments)} arguments, {len(program.arguments)} are described"
        )
    arguments = [ir.DictAttr.get(_argument_attributes(a, program)) for a in program.arguments]
    results = [ir.DictAttr.get({NAME: ir.StringAttr.get(n)}) for n in program.result_names]
    main.attributes["arg_attrs"] = ir.ArrayAttr.get(arguments)
    main.attributes["res_attrs"] = ir.ArrayAttr.get(results)


def _argument_attributes(argument: Argument, program: ImportedProgram) -> dict[str, ir.Attribute]:
    attributes: dict[str, ir.Attribute] = {NAME: ir.StringAttr.get(argument.name)}
    if argument.sharding is not None:
        attributes[PARTS] = integer_array(argument.sharding.parts)
    if argument.weight is not None:
        attributes[WEIGHT] = ir.UnitAttr.get()
        if _holds_infinities(argument.weight):
            attributes[INFINITE] = ir.UnitAttr.get()
    elif argument.name in program.aliases:
        number = program.result_names.index(program.aliases[argument.name])
        attributes[ALIAS] = ir.IntegerAttr.get(ir.IntegerType.get_signless(64), number)
    return attributes


LARGEST_SCANNED_BYTES = 4 << 20
"""Larger weights are a model's rather than masks; they are not read when compiling."""


def _holds_infinities(weight: WeightRef) -> bool:
    """Whether a weight that may be a mask has elements that are not finite."""
    is_float = weight.dtype.startswith(("f", "bf"))
    if not is_float or weight.size_bytes > LARGEST_SCANNED_BYTES or is_absent(weight):
        return False
    return not np.isfinite(weight.load().astype(np.float32)).all()
