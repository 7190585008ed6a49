"""VectorE element-wise, reduction and data-movement instructions; some also run on GpSimdE.

Source of everything not marked otherwise: machine.md#vector-engine (costs) and the nki.isa page of
the instruction of that name (semantics). Arithmetic is done in f32 (machine.md#arithmetic): tiles
are cast up when read and down when written. Exceptions: bitwise operators work on the bits, a copy
between equal types keeps the bits, and GpSimdE computes natively when every tile is i32 or u32.
"""

from __future__ import annotations

from axonc.backends.isa.access_pattern import element_count
from axonc.backends.isa.cost_terms import (
    any_in_psum,
    are_of,
    elements,
    has_even_size,
    have_unit_stride,
    per_element,
    streamed,
    tile,
)
from axonc.backends.isa.formula import Condition, Cost, as_term, by_engine, choose, field_is
from axonc.backends.isa.instruction import Instruction
from axonc.backends.isa.operand_kinds import (
    ALL_DTYPES,
    F32_ONLY,
    INTEGER_DTYPES,
    SCALAR_DTYPES,
    UNSIGNED_DTYPES,
    VECTOR,
    VECTOR_OR_GPSIMD,
    WORD_DTYPES,
    alu,
    flag,
    read,
    real,
    scalar_tile,
    uint,
    update,
    write,
)
from axonc.backends.isa.rules import (
    arithmetic_operators,
    binary_operators,
    bitvec_needs_integers,
    custom,
    element_count_is,
    element_range,
    is_bitvec,
    not_both_psum,
    operators_on_engine,
    reduction_operator,
    same_dtype,
    same_elements,
    same_partitions,
    scalar_operand_dtype,
)
from axonc.backends.isa.spec import Reach, entry
from axonc.backends.numerics.dtypes import BF16, F16
from axonc.backends.targets.target import Engine, Target

HALF_COST_TENSOR_OPS = ("add", "multiply", "subtract")
"""Operators with which two bf16 tiles stream at one element per cycle."""

FAST_TENSOR_TENSOR = (
    are_of(("src0", "src1", "dst"), BF16)
    & have_unit_stride("src0", "src1")
    & field_is("op", *HALF_COST_TENSOR_OPS)
)
FAST_SCALAR_TENSOR = (
    are_of(("src0", "src1"), BF16)
    & field_is("op0", "subtract")
    & field_is("op1", "multiply")
    & has_even_size("src0")
)
FAST_REDUCE = are_of(("src", "dst"), BF16) & field_is("op", "add", "max")
FAST_MEMSET = field_is("value_bits", 0) & are_of(("dst",), BF16, F16)

SELECTABLE_DTYPES = tuple(n for n in ALL_DTYPES if n not in ("tf32", "i32", "u32"))

INT32_RULE = "on GpSimdE with only i32/u32 tiles: exact wrapping 32-bit integers"


def _reduced_count(instruction: Instruction, target: Target) -> str | None:
    dims = tile(instruction, "src").dims
    axes = instruction.integer("num_axes")
    if axes > len(dims):
        return f"num_axes {axes}, src has {len(dims)} free dims"
    kept = element_count(dims[: len(dims) - axes])
    found = tile(instruction, "dst").elements_per_partition
    return None if found == kept else f"dst has {found} elements per partition, {kept} remain"


def _negate_is_arithmetic(instruction: Instruction, target: Target) -> str | None:
    wrong = instruction.flag("negate") and is_bitvec(instruction, "op")
    return f"negate with {instruction.text('op')}" if wrong else None


def _value_fits(instruction: Instruction, target: Target) -> str | None:
    bits = instruction.integer("value_bits")
    dtype = tile(instruction, "dst").dtype
    too_wide = bits >> (8 * dtype.size_bytes)
    return f"{bits:#x} is wider than {dtype.name}" if too_wide else None


def _transposed_shape(instruction: Instruction, target: Target) -> str | None:
    source, destination = tile(instruction, "src"), tile(instruction, "dst")
    quadrant = target.partition_quadrant
    shape = (source.num_partitions, source.elements_per_partition)
    found = (destination.num_partitions, destination.elements_per_partition)
    if max(shape) <= quadrant and found == shape[::-1]:
        return None
    if shape == found and shape[0] % quadrant == 0 and shape[1] % quadrant == 0:
        return None
    return f"src is {list(shape)}, dst is {list(found)}"


def _shuffle_sources(instruction: Instruction, target: Target) -> str | None:
    quadrant = target.partition_quadrant
    for partition, source in enumerate(shuffle_mask(instruction)):
        if source >= quadrant and source != KEEP_PARTITION:
            return f"mask[{partition}] = {source}"
    return None


def _one_element(instruction: Instruction, target: Target) -> str | None:
    source = tile(instruction, "src")
    single = source.num_partitions == 1 and source.elements_per_partition == 1
    return None if single else f"src is {list(source.shape)}"


def _one_to_four_axes(instruction: Instruction, target: Target) -> str | None:
    axes = instruction.integer("num_axes")
    return None if 1 <= axes <= 4 else f"num_axes is {axes}"


def _triples(instruction: Instruction, target: Target) -> str | None:
    count = tile(instruction, "src").elements_per_partition
    return f"src has {count} elements per partition" if count % 3 else None


def _whole_quadrants(instruction: Instruction, target: Target) -> str | None:
    count = tile(instruction, "src").num_partitions
    return f"{count} partitions" if count % target.partition_quadrant else None


KEEP_PARTITION = 255
"""Shuffle mask value that leaves a destination partition as it was."""

MASK_FIELDS = tuple(f"mask{i}" for i in range(8))


def mask_words(mask: list[int]) -> dict[str, int]:
    """For kernels: fields mask0..mask7 of a shuffle mask of 32 entries (mask[i] = source of
    partition i)."""
    data = bytes(mask)
    if len(data) != 4 * len(MASK_FIELDS):
        raise ValueError(f"a shuffle mask has 32 entries, not {len(data)}")
    words = (int.from_bytes(data[4 * i : 4 * i + 4], "little") for i in range(8))
    return dict(zip(MASK_FIELDS, words, strict=True))


def shuffle_mask(instruction: Instruction) -> bytes:
    """The 32 mask entries of a `stream_shuffle`."""
    words = (instruction.integer(name) for name in MASK_FIELDS)
    return b"".join(word.to_bytes(4, "little") for word in words)


entry(
    mnemonic="tensor_tensor",
    opcode=0x10,
    reach=Reach.SAME_PLACE,
    engines=VECTOR_OR_GPSIMD,
    operands=(write(), read("src0"), read("src1")),
    fields=(alu("op", "add"),),
    cost=Cost(
        by_engine(
            Engine.GPSIMD,
            per_element("src0"),
            choose(
                any_in_psum("src0", "src1") | FAST_TENSOR_TENSOR,
                per_element("src0"),
                streamed(2 * elements("src0")),
            ),
        )
    ),
    summary="Element-wise operation on two tiles.",
    semantics="dst = src0 op src1; comparisons and logical operators give 1 or 0; " + INT32_RULE,
    sources=("machine.md#vector-engine", "machine.md#arithmetic", "nki.isa.tensor_tensor"),
    rules=(
        same_partitions("C20", "dst", "src0", "src1"),
        same_elements("C21", "dst", "src0", "src1"),
        not_both_psum("C22", "src0", "src1"),
        operators_on_engine("C23", "op"),
        bitvec_needs_integers("C24", ("op",), ("dst", "src0", "src1")),
        binary_operators("C25", "op"),
    ),
)

entry(
    mnemonic="tensor_scalar",
    opcode=0x11,
    reach=Reach.SAME_PLACE,
    engines=VECTOR_OR_GPSIMD,
    operands=(
        write(),
        read("src"),
        scalar_tile("scalar0", SCALAR_DTYPES, "[P, 1], replaces imm0"),
        scalar_tile("scalar1", SCALAR_DTYPES, "[P, 1], replaces imm1"),
    ),
    fields=(
        alu("op0", "add"),
        real("imm0"),
        flag("reverse0", "compute scalar op0 src"),
        alu("op1", "bypass"),
        real("imm1"),
        flag("reverse1", "compute scalar op1 result"),
    ),
    cost=Cost(per_element("src"), note="the second operator is free"),
    summary="One or two operators with a scalar per partition or an immediate.",
    semantics="dst = (src op0 s0) op1 s1, s = [P, 1] tile or immediate; reverse swaps the "
    "operands of its operator; unary operators ignore s; bitwise operators take an immediate as "
    "an integer; " + INT32_RULE,
    sources=("machine.md#vector-engine", "nki.isa.tensor_scalar"),
    rules=(
        same_partitions("C20", "dst", "src", "scalar0", "scalar1"),
        same_elements("C21", "dst", "src"),
        element_count_is("C22", 1, "scalar0", "scalar1"),
        operators_on_engine("C23", "op0", "op1"),
        bitvec_needs_integers("C24", ("op0", "op1"), ("dst", "src", "scalar0", "scalar1")),
        scalar_operand_dtype("C25", ("op0", "op1"), ("scalar0", "scalar1")),
    ),
)

entry(
    mnemonic="scalar_tensor_tensor",
    opcode=0x12,
    reach=Reach.SAME_PLACE,
    engines=VECTOR,
    operands=(
        write(),
        read("src0"),
        scalar_tile("scalar", F32_ONLY, "[P, 1], replaces imm"),
        read("src1"),
    ),
    fields=(
        alu("op0", "multiply"),
        real("imm"),
        flag("reverse0", "compute scalar op0 src0"),
        alu("op1", "add"),
        flag("reverse1", "compute src1 op1 result"),
    ),
    cost=Cost(
        choose(FAST_SCALAR_TENSOR, per_element("src0"), streamed(2 * elements("src0"))),
    ),
    summary="An operator with a scalar, then one with a second tile.",
    semantics="dst = (src0 op0 s) op1 src1, s = [P, 1] tile or imm; f32",
    sources=("machine.md#vector-engine", "nki.isa.scalar_tensor_tensor"),
    rules=(
        same_partitions("C20", "dst", "src0", "scalar", "src1"),
        same_elements("C21", "dst", "src0", "src1"),
        element_count_is("C22", 1, "scalar"),
        not_both_psum("C23", "src0", "src1"),
        operators_on_engine("C24", "op0", "op1"),
        arithmetic_operators("C25", "op0", "op1"),
    ),
)

entry(
    mnemonic="tensor_reduce",
    opcode=0x13,
    reach=Reach.LAST_DIMS,
    engines=VECTOR,
    operands=(write(), read("src")),
    fields=(
        alu("op", "add"),
        uint("num_axes", 3, 1, "how many trailing free dims vanish, 1 to 4"),
        flag("negate", "multiply the result by -1"),
    ),
    cost=Cost(choose(FAST_REDUCE, streamed(elements("src") / 2), per_element("src"))),
    summary="Reduce trailing free axes; never the partition axis.",
    semantics="dst[p, kept] = (negate ? -1 : 1) * op over the last num_axes dims of src; in f32, "
    "in order for subtract",
    sources=("machine.md#vector-engine", "nki.isa.tensor_reduce"),
    rules=(
        same_partitions("C20", "dst", "src"),
        custom("C21", "num_axes is 1 to 4", _one_to_four_axes),
        custom("C22", "dst has the elements that remain", _reduced_count),
        bitvec_needs_integers("C23", ("op",), ("dst", "src")),
        custom("C24", "negate only with arithmetic operators", _negate_is_arithmetic),
        reduction_operator("C25", "op"),
    ),
)


entry(
    mnemonic="tensor_tensor_scan",
    opcode=0x14,
    engines=VECTOR,
    operands=(
        write(),
        read("src0"),
        read("src1"),
        scalar_tile("initial", F32_ONLY, "[P, 1], replaces imm_initial"),
    ),
    fields=(
        alu("op0", "multiply"),
        alu("op1", "add"),
        real("imm_initial"),
    ),
    cost=Cost(streamed(2 * elements("src0"))),
    summary="First-order recurrence along the free axis.",
    semantics="r[i] = (src0[i] op0 r[i-1]) op1 src1[i], r[-1] = initial; dst = r; f32",
    sources=("machine.md#vector-engine", "nki.isa.tensor_tensor_scan"),
    rules=(
        same_partitions("C20", "dst", "src0", "src1", "initial"),
        same_elements("C21", "dst", "src0", "src1"),
        element_count_is("C22", 1, "initial"),
        not_both_psum("C23", "src0", "src1"),
        operators_on_engine("C24", "op0", "op1"),
        arithmetic_operators("C25", "op0", "op1"),
    ),
)

entry(
    mnemonic="bn_stats",
    opcode=0x15,
    engines=VECTOR,
    operands=(write(summary="[P, 6]"), read("src")),
    cost=Cost(per_element("src")),
    summary="Count, mean and variance * count of the even and of the odd elements.",
    semantics="dst[p] = (count, mean, variance * count) of src[p, 0::2], then of src[p, 1::2]; f32",
    sources=("machine.md#vector-engine", "nki.isa.bn_stats"),
    rules=(
        same_partitions("C20", "dst", "src"),
        element_range("C21", "src", 1, "bn_stats_max_elements"),
        element_count_is("C22", 6, "dst"),
    ),
)

entry(
    mnemonic="bn_aggr",
    opcode=0x16,
    engines=VECTOR,
    operands=(
        write(summary="[P, 2]"),
        read("src", summary="(count, mean, variance * count) triples"),
    ),
    cost=Cost(streamed(as_term(13) / 3 * elements("src"))),
    summary="Merge bn_stats triples into mean and variance.",
    semantics="dst[p] = (mean, variance) of the union of the populations; variance is divided by "
    "the count; f32",
    sources=("machine.md#vector-engine", "nki.isa.bn_aggr"),
    rules=(
        same_partitions("C20", "dst", "src"),
        custom("C21", "src is made of triples", _triples),
        element_count_is("C22", 2, "dst"),
    ),
)

entry(
    mnemonic="tensor_copy",
    opcode=0x17,
    reach=Reach.SAME_PLACE,
    engines=VECTOR_OR_GPSIMD,
    operands=(write(), read("src")),
    cost=Cost(per_element("src")),
    summary="Copy or cast.",
    semantics="dst = src; equal types keep every bit, others go through f32",
    sources=("machine.md#vector-engine", "nki.isa.tensor_copy"),
    rules=(same_partitions("C20", "dst", "src"), same_elements("C21", "dst", "src")),
)

entry(
    mnemonic="tensor_copy_predicated",
    opcode=0x18,
    reach=Reach.SAME_PLACE,
    engines=VECTOR,
    operands=(update(), read("src"), read("predicate", dtypes=UNSIGNED_DTYPES)),
    fields=(flag("reverse_predicate", "copy where the predicate is zero"),),
    cost=Cost(
        choose(any_in_psum("src", "predicate"), per_element("src"), streamed(2 * elements("src"))),
    ),
    summary="Copy the elements whose predicate is not zero; leave the others.",
    semantics="dst = (predicate != 0) != reverse_predicate ? src : dst",
    sources=("machine.md#vector-engine", "nki.isa.tensor_copy_predicated"),
    rules=(
        same_partitions("C20", "dst", "src", "predicate"),
        same_elements("C21", "dst", "src", "predicate"),
        not_both_psum("C22", "src", "predicate"),
        same_dtype("C23", "dst", "src"),
    ),
)

entry(
    mnemonic="select_reduce",
    opcode=0x19,
    engines=VECTOR,
    operands=(
        write(),
        read("predicate", dtypes=("i8", "u8", "i16", "u16")),
        read("on_true", dtypes=SELECTABLE_DTYPES),
        scalar_tile("on_false", F32_ONLY, "[P, 1], replaces imm_false"),
    ),
    fields=(real("imm_false"),),
    cost=Cost(per_element("on_true"), note="assumed"),
    summary="Choose between a tile and a scalar; the optional max reduction is not described here.",
    semantics="dst = predicate != 0 ? on_true : on_false; through f32",
    sources=("machine.md#vector-engine", "nki.isa.select_reduce"),
    rules=(
        same_partitions("C20", "dst", "predicate", "on_true", "on_false"),
        same_elements("C21", "dst", "predicate", "on_true"),
        element_count_is("C22", 1, "on_false"),
        not_both_psum("C23", "predicate", "on_true"),
    ),
)

entry(
    mnemonic="reciprocal",
    opcode=0x1A,
    reach=Reach.SAME_PLACE,
    engines=VECTOR,
    operands=(write(), read("src")),
    cost=Cost(streamed(8 * elements("src"))),
    summary="1 / x, accurate.",
    semantics="dst = 1 / src; f32",
    sources=("machine.md#vector-engine", "nki.isa.reciprocal"),
    rules=(same_partitions("C20", "dst", "src"), same_elements("C21", "dst", "src")),
)

entry(
    mnemonic="memset",
    opcode=0x1B,
    reach=Reach.SAME_PLACE,
    engines=VECTOR_OR_GPSIMD,
    operands=(write(),),
    fields=(uint("value_bits", summary="bit pattern of one element of dst's type"),),
    cost=Cost(
        by_engine(
            Engine.GPSIMD,
            per_element("dst"),
            choose(FAST_MEMSET, streamed(elements("dst") / 2), per_element("dst")),
        )
    ),
    summary="Fill with a constant.",
    semantics="every element of dst has the bits value_bits",
    sources=("machine.md#vector-engine", "nki.isa.memset"),
    rules=(custom("C20", "value_bits fits the element type", _value_fits),),
)

entry(
    mnemonic="vector_transpose",
    opcode=0x1C,
    engines=VECTOR,
    operands=(write(), read("src")),
    cost=Cost(per_element("src")),
    summary="Transpose partitions and free axis in blocks of 32 x 32.",
    semantics="src [P, F] with P, F <= 32: dst [F, P] = src.T; P and F multiples of 32: dst [P, "
    "F], each 32 x 32 block transposed in its place (several blocks: assumed from the four "
    "reshape banks); bits kept",
    sources=("machine.md#vector-engine", "nki.isa.nc_transpose"),
    rules=(
        same_dtype("C20", "dst", "src"),
        custom(
            "C21",
            "src [P, F] and dst [F, P] with P, F <= 32, or both [P, F] with multiples of 32",
            _transposed_shape,
        ),
    ),
)

entry(
    mnemonic="stream_shuffle",
    opcode=0x1D,
    engines=VECTOR,
    operands=(update(), read("src")),
    fields=tuple(
        uint(name, 32, 0xFFFFFFFF, f"entries {4 * i} to {4 * i + 3}, lowest byte first")
        for i, name in enumerate(MASK_FIELDS)
    ),
    cost=Cost(per_element("src")),
    summary="Permute or broadcast partitions inside each quadrant of 32.",
    reads_destination=Condition(
        lambda i: KEEP_PARTITION in shuffle_mask(i), f"the mask has an entry {KEEP_PARTITION}"
    ),
    semantics="dst[32q + i] = src[32q + mask[i]], partitions counted from each tile's start; "
    "mask 255 leaves the partition as it was; bits kept",
    sources=("machine.md#vector-engine", "nki.isa.nc_stream_shuffle"),
    rules=(
        same_partitions("C20", "dst", "src"),
        same_elements("C21", "dst", "src"),
        same_dtype("C22", "dst", "src"),
        custom("C23", "mask entries are 0 to 31, or 255", _shuffle_sources),
        custom("C24", "whole quadrants: partitions are a multiple of 32", _whole_quadrants),
    ),
)

entry(
    mnemonic="max8",
    opcode=0x1E,
    engines=VECTOR,
    operands=(write(summary="[P, 8]"), read("src")),
    cost=Cost(per_element("src")),
    summary="The 8 largest values of each partition, largest first.",
    semantics="dst[p] = 8 largest of src[p], descending; compared in f32",
    sources=("machine.md#vector-engine", "nki.isa.max8"),
    rules=(
        same_partitions("C20", "dst", "src"),
        element_range("C21", "src", 8, 16384),
        element_count_is("C22", 8, "dst"),
    ),
)

entry(
    mnemonic="find_index8",
    opcode=0x1F,
    engines=VECTOR,
    operands=(
        write(dtypes=("u16", "u32"), summary="[P, 8]"),
        read("src"),
        read("values", summary="[P, 8]"),
    ),
    cost=Cost(per_element("src")),
    summary="Index of the first occurrence of each of 8 values.",
    semantics="dst[p, j] = first i with src[p, i] = values[p, j], all ones if there is none; equal "
    "values take successive occurrences, in ascending order",
    sources=("machine.md#vector-engine", "nki.isa.nc_find_index8"),
    rules=(
        same_partitions("C20", "dst", "src", "values"),
        element_range("C21", "src", 8, 16384),
        element_count_is("C22", 8, "dst", "values"),
    ),
)

entry(
    mnemonic="match_replace8",
    opcode=0x20,
    engines=VECTOR,
    operands=(write(), read("src"), read("values", summary="[P, 8]")),
    fields=(real("imm"),),
    cost=Cost(per_element("src"), note="published as min(64, N), taken for a misprint"),
    summary="Replace the first occurrence of each of 8 values.",
    semantics="dst = src with the first unreplaced occurrence of each values[p, j] set to imm",
    sources=("machine.md#vector-engine", "nki.isa.nc_match_replace8"),
    rules=(
        same_partitions("C20", "dst", "src", "values"),
        same_elements("C21", "dst", "src"),
        element_count_is("C22", 8, "values"),
        element_range("C23", "src", 8, 16384),
    ),
)

entry(
    mnemonic="rng",
    opcode=0x21,
    engines=VECTOR,
    operands=(write(dtypes=INTEGER_DTYPES),),
    cost=Cost(per_element("dst"), note="assumed"),
    summary="Pseudo-random bits.",
    semantics="32 random bits per element, truncated to the low bits of dst's type; the "
    "generator is not published",
    sources=("machine.md#vector-engine", "nki.isa.rng"),
)

entry(
    mnemonic="set_rng_seed",
    opcode=0x22,
    engines=VECTOR,
    operands=(read("src", dtypes=("f32", *WORD_DTYPES)),),
    cost=Cost(per_element("src"), note="assumed"),
    summary="Seed the generator of VectorE.",
    semantics="seed = the 32 bits of src[0, 0]; kept until the next set_rng_seed",
    sources=("machine.md#vector-engine", "nki.isa.set_rng_seed"),
    rules=(custom("C20", "src is one element", _one_element),),
)
