"""MLIR text of elementwise instructions: loops over partitions and vectors of 16 elements.

A kernel computes one expression of tiles, of scalars per partition and of immediates, all in
float32; tiles are float32 or bfloat16 in memory. Task (int64 words): rows, outer, inner; address,
bytes from row to row and from outer to outer of every tile (sources, then the destination); two
words per scalar (address and bytes from row to row; or the bits of an immediate and 0); address and
bytes from row to row of the row sums, if there are any.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from axonc.backends.executor.native.vector_code import (
    FUNCTIONS,
    LANES,
    MASK,
    OPERATORS,
    F,
    I,
    VectorCode,
)

Expression: TypeAlias = "str | tuple[str, Expression] | tuple[str, Expression, Expression]"
"""An operand (r0, r1: sources; s0, s1: scalars), or an operation of FUNCTIONS or OPERATORS."""

HEADER_WORDS, TILE_WORDS, SCALAR_WORDS = 3, 3, 2


EACH = "f32 each"


@dataclass(frozen=True, slots=True)
class Kernel:
    """One elementwise computation of native code."""

    expression: Expression
    sources: tuple[str, ...]
    """The element type of each source: "f32", "bf16", or EACH (a float32 for each pass of the outer
    loop, the same for all of its inner one)."""
    target: str
    """The element type of the destination."""
    scalars: tuple[str, ...] = ()
    """What each scalar operand is: "tile" (a float32 per row) or "immediate"."""
    sums: bool = False
    """Whether the results of each row are added up, in 16 interleaved sums."""

    @property
    def is_known(self) -> bool:
        if not {"f32", "bf16", EACH}.issuperset(self.sources) or self.target not in ELEMENTS:
            return False
        return _is_known(self.expression)


def _is_known(expression: Expression) -> bool:
    if isinstance(expression, str):
        return True
    table = FUNCTIONS if len(expression) == 2 else OPERATORS
    return expression[0] in table and all(_is_known(part) for part in expression[1:])


def elementwise_module(kernel: Kernel) -> str:
    """The module; its function is @kernel."""
    code = VectorCode()
    scalars = {f"s{n}": f"%s{n}" for n in range(len(kernel.scalars))}
    sources = {f"r{n}": _source(code, n, dtype) for n, dtype in enumerate(kernel.sources)}
    result = _emit(code, kernel.expression, sources | scalars)
    _store(code, result, kernel.target)
    if kernel.sums:
        code.lines.append(f"%kept = arith.select %mask, {result}, %zero : {MASK}, {F}")
        code.lines.append(f"%more = arith.addf %so_far, %kept : {F}")
    return _function(kernel, code)


def _emit(code: VectorCode, expression: Expression, values: dict[str, str]) -> str:
    if isinstance(expression, str):
        return values[expression]
    operands = [_emit(code, part, values) for part in expression[1:]]
    table = FUNCTIONS if len(operands) == 1 else OPERATORS
    return table[expression[0]](code, *operands)


ELEMENTS = {"f32": "f32", "bf16": "i16"}


def _place(code: VectorCode, name: str, dtype: str) -> str:
    return code.value(
        f"llvm.getelementptr %{name}_outer[%i] : (!llvm.ptr, i64) -> !llvm.ptr, {ELEMENTS[dtype]}"
    )


def load_vector(code: VectorCode, place: str, mask: str, dtype: str) -> str:
    """16 elements at `place` as float32; 0 where `mask` is not set (needs %zero and %zero_half)."""
    if dtype == "f32":
        return code.value(
            f"llvm.intr.masked.load {place}, {mask}, %zero {{alignment = 4 : i32}} "
            f": (!llvm.ptr, {MASK}, {F}) -> {F}"
        )
    half = code.value(
        f"llvm.intr.masked.load {place}, {mask}, %zero_half {{alignment = 2 : i32}} "
        f": (!llvm.ptr, {MASK}, vector<16xi16>) -> vector<16xi16>"
    )
    wide = code.value(f"arith.extui {half} : vector<16xi16> to {I}")
    return code.from_bits(code.integers("shli", wide, code.integer(16)))


def _source(code: VectorCode, number: int, dtype: str) -> str:
    if dtype == EACH:
        return f"%each{number}"
    return load_vector(code, _place(code, f"tile{number}", dtype), "%mask", dtype)


def _each(number: int) -> str:
    """%each<number>: a vector of the element of this pass of the outer loop."""
    name = f"each{number}"
    return f"""
      %{name}_one = llvm.load %tile{number}_outer : !llvm.ptr -> f32
      %{name} = vector.broadcast %{name}_one : f32 to {F}"""


def _store(code: VectorCode, result: str, dtype: str) -> None:
    place = _place(code, "target", dtype)
    kind, size = F, 4
    if dtype == "bf16":
        result, kind, size = _rounded_to_bf16(code, result), "vector<16xi16>", 2
    code.lines.append(
        f"llvm.intr.masked.store {result}, {place}, %mask {{alignment = {size} : i32}} "
        f": {kind}, {MASK} into !llvm.ptr"
    )


def _rounded_to_bf16(code: VectorCode, x: str) -> str:
    """To nearest, ties to even; NaN stays one (its sign too)."""
    bits = code.bits(x)
    odd = code.integers("andi", code.integers("shrui", bits, code.integer(16)), code.integer(1))
    rounded = code.integers("addi", code.integers("addi", bits, code.integer(0x7FFF)), odd)
    is_nan = code.value(f"arith.cmpf uno, {x}, {x} : {F}")
    quiet = code.integers("ori", bits, code.integer(0x00400000))
    kept = code.integers("shrui", code.where(is_nan, quiet, rounded, I), code.integer(16))
    return code.value(f"arith.trunci {kept} : {I} to vector<16xi16>")


def words(first: int, *names: str) -> str:
    """Words of the task from number `first` on, as %name."""
    return "\n".join(
        f"%{name}_at = llvm.getelementptr %task[{first + n}] : (!llvm.ptr) -> !llvm.ptr, i64\n"
        f"%{name} = llvm.load %{name}_at : !llvm.ptr -> i64"
        for n, name in enumerate(names)
    )


def pointer(name: str, base: str, index: str, stride: str) -> str:
    """%name: `index` times `stride` bytes after `base`."""
    return (
        f"%{name}_bytes = arith.muli {index}, {stride} : i64\n"
        f"%{name} = llvm.getelementptr {base}[%{name}_bytes] : (!llvm.ptr, i64) -> !llvm.ptr, i8"
    )


def _function(kernel: Kernel, code: VectorCode) -> str:
    tiles = [*(f"tile{n}" for n in range(len(kernel.sources))), "target"]
    header = [words(0, "rows", "outer", "inner")]
    row, outer = [], []
    for number, tile in enumerate(tiles):
        names = (f"{tile}_address", f"{tile}_row_stride", f"{tile}_outer_stride")
        header.append(words(HEADER_WORDS + number * TILE_WORDS, *names))
        header.append(f"%{tile} = llvm.inttoptr %{tile}_address : i64 to !llvm.ptr")
        row.append(pointer(f"{tile}_row", f"%{tile}", "%p", f"%{tile}_row_stride"))
        outer.append(pointer(f"{tile}_outer", f"%{tile}_row", "%o", f"%{tile}_outer_stride"))
    outer += [_each(n) for n, dtype in enumerate(kernel.sources) if dtype == EACH]
    at = HEADER_WORDS + len(tiles) * TILE_WORDS
    for number, kind in enumerate(kernel.scalars):
        header.append(words(at, f"s{number}_word", f"s{number}_stride"))
        at += SCALAR_WORDS
        (row if kind == "tile" else header).append(_scalar(number, kind))
    if kernel.sums:
        header.append(words(at, "sums_address", "sums_stride"))
        header.append("%sums = llvm.inttoptr %sums_address : i64 to !llvm.ptr")
    return f"""
llvm.func @kernel(%task: !llvm.ptr) attributes {{passthrough = ["noinline"]}} {{
  %c0 = arith.constant 0 : i64
  %c1 = arith.constant 1 : i64
  %lanes = arith.constant {LANES} : i64
  %zero = arith.constant dense<0.0> : {F}
  %zero_half = arith.constant dense<0> : vector<16xi16>
  {_joined(code.constants)}
  {_joined(header)}
  scf.for %p = %c0 to %rows step %c1 : i64 {{
    {_joined(row)}
    {_loops(kernel, _joined(outer), _joined(code.lines))}
  }}
  llvm.return
}}"""


def _joined(lines: list[str]) -> str:
    return "\n".join(lines)


def _scalar(number: int, kind: str) -> str:
    """%s<number>: a vector of one scalar."""
    name = f"s{number}"
    if kind == "immediate":
        made = f"%{name}_bits = arith.trunci %{name}_word : i64 to i32\n"
        made += f"%{name}_one = arith.bitcast %{name}_bits : i32 to f32\n"
    else:
        made = f"%{name}_all = llvm.inttoptr %{name}_word : i64 to !llvm.ptr\n"
        made += pointer(f"{name}_p", f"%{name}_all", "%p", f"%{name}_stride") + "\n"
        made += f"%{name}_one = llvm.load %{name}_p : !llvm.ptr -> f32\n"
    return made + f"%{name} = vector.broadcast %{name}_one : f32 to {F}"


def _loops(kernel: Kernel, outer: str, body: str) -> str:
    """The loops within a row, with the sum of its results if there is one."""
    begin = end = last = carried = ""
    if kernel.sums:
        carried = f" -> ({F})"
        begin = "iter_args(%so_far = {start})"
        end = "scf.yield {value} : " + F
        last = _row_sum()
    outer_begin, inner_begin = (
        begin.format(start=s).replace("so_far", name)
        for s, name in (("%zero", "before"), ("%before", "so_far"))
    )
    names = ("%row_total = ", "%part = ") if kernel.sums else ("", "")
    return f"""
    {names[0]}scf.for %o = %c0 to %outer step %c1 {outer_begin}{carried} : i64 {{
      {outer}
      {names[1]}scf.for %i = %c0 to %inner step %lanes {inner_begin}{carried} : i64 {{
        %left = arith.subi %inner, %i : i64
        %count = arith.index_cast %left : i64 to index
        %mask = vector.create_mask %count : {MASK}
        {body}
        {end.format(value="%more")}
      }}
      {end.format(value="%part")}
    }}
    {last}"""


def _row_sum() -> str:
    """The sum of 16 lanes, in halves, to its place."""
    lines, value, width = [], "%row_total", LANES
    while width > 1:
        width //= 2
        lanes = list(range(width))
        kind, half = f"vector<{2 * width}xf32>", f"vector<{width}xf32>"
        high = [n + width for n in lanes]
        for name, which in ((f"%low{width}", lanes), (f"%high{width}", high)):
            lines.append(f"{name} = vector.shuffle {value}, {value} {which} : {kind}, {kind}")
        value = f"%sum{width}"
        lines.append(f"{value} = arith.addf %low{width}, %high{width} : {half}")
    lines.append(pointer("sum_p", "%sums", "%p", "%sums_stride"))
    lines.append(f"%sum = vector.extract {value}[0] : f32 from vector<1xf32>")
    lines.append("llvm.store %sum, %sum_p : f32, !llvm.ptr")
    return _joined(lines)
