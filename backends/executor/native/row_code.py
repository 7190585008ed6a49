"""MLIR text of instructions that are not elementwise: transposes, statistics and reductions."""

from __future__ import annotations

from collections.abc import Iterable

from axonc.backends.executor.native.elementwise_code import ELEMENTS, load_vector, pointer, words
from axonc.backends.executor.native.vector_code import LANES, MASK, F, I, VectorCode

_CONSTANTS = f"""
  %c0 = arith.constant 0 : i64
  %c1 = arith.constant 1 : i64
  %lanes = arith.constant {LANES} : i64
  %zero = arith.constant dense<0.0> : {F}
  %zero_half = arith.constant dense<0> : vector<16xi16>"""

_HEAD = 'llvm.func @kernel(%task: !llvm.ptr) attributes {passthrough = ["noinline"]} {'


def _mask(name: str, left: str) -> str:
    """%<name>_mask: the first `left` lanes."""
    return (
        f"%{name}_count = arith.index_cast {left} : i64 to index\n"
        f"%{name}_mask = vector.create_mask %{name}_count : {MASK}"
    )


def shuffle(code: VectorCode, a: str, b: str, lanes: list[int]) -> str:
    """Lanes 0 to 15 are those of a, from 16 on those of b."""
    return code.value(f"vector.shuffle {a}, {b} {lanes} : {F}, {F}")


def halves(code: VectorCode, x: str, width: int, op: str) -> str:
    """x with its lanes combined by `op` until `width` are left, in all 16 lanes: lane n holds what
    lanes n, n + width, n + 2 width ... held."""
    distance = LANES // 2
    while distance >= width:
        other = shuffle(code, x, x, [(n + distance) % LANES for n in range(LANES)])
        x = code.value(f"arith.{op} {x}, {other} : {F}")
        distance //= 2
    return x


# ---- transposes


def transpose_module(dtype: str) -> str:
    """result [columns, rows] float32 = source [rows, columns] + 0, which makes -0 +0.

    Task: rows, columns, source and its row bytes, result and its row bytes, and a word that is not
    0 afterwards if some value was not finite.
    """
    code = VectorCode()
    infinite = code.integer(0x7F800000)
    lines = [load_vector(code, f"%row{n}_p", f"%row{n}_mask", dtype) for n in range(LANES)]
    largest = "%so_far"
    for line in lines:
        largest = code.integers("maxui", largest, code.bits(code.magnitude(line)))
    columns = [code.add(line, "%zero") for line in _transposed(code, lines)]
    stores = "".join(
        f"""
      %store{n}_left = arith.subi %column_left, %n{n} : i64
      %is_column{n} = arith.cmpi sgt, %store{n}_left, %c0 : i64
      scf.if %is_column{n} {{
        %to{n}_row = arith.addi %column, %n{n} : i64
        {pointer(f"to{n}", "%result", f"%to{n}_row", "%result_row")}
        %to{n}_p = llvm.getelementptr %to{n}[%row] : (!llvm.ptr, i64) -> !llvm.ptr, f32
        llvm.intr.masked.store {columns[n]}, %to{n}_p, %rows_mask {{alignment = 4 : i32}}
            : {F}, {MASK} into !llvm.ptr
      }}"""
        for n in range(LANES)
    )
    return f"""
{_HEAD}
  {_CONSTANTS}
  {_joined(f"%n{n} = arith.constant {n} : i64" for n in range(LANES))}
  %none = arith.constant dense<0> : {I}
  %no_lane = arith.constant dense<false> : {MASK}
  {_joined(code.constants)}
  {words(0, "rows", "columns", "source_at", "source_row", "result_at", "result_row")}
  %source = llvm.inttoptr %source_at : i64 to !llvm.ptr
  %result = llvm.inttoptr %result_at : i64 to !llvm.ptr
  %found = scf.for %row = %c0 to %rows step %lanes iter_args(%before = %none) -> ({I}) : i64 {{
    %row_left = arith.subi %rows, %row : i64
    {_mask("rows", "%row_left")}
    %part = scf.for %column = %c0 to %columns step %lanes iter_args(%so_far = %before)
        -> ({I}) : i64 {{
      %column_left = arith.subi %columns, %column : i64
      {_mask("columns", "%column_left")}
      {_joined(_row_address(n, dtype) for n in range(LANES))}
      {_joined(code.lines)}
      {stores}
      scf.yield {largest} : {I}
    }}
    scf.yield %part : {I}
  }}
  %is_bad = arith.cmpi uge, %found, {infinite} : {I}
  %bad = arith.extui %is_bad : {MASK} to {I}
  %any = vector.reduction <or>, %bad : {I} into i32
  %word = arith.extui %any : i32 to i64
  %word_p = llvm.getelementptr %task[6] : (!llvm.ptr) -> !llvm.ptr, i64
  llvm.store %word, %word_p : i64, !llvm.ptr
  llvm.return
}}"""


def _row_address(n: int, dtype: str) -> str:
    """%row<n>_p and %row<n>_mask: no lane if there is no such row."""
    return f"""
      %row{n} = arith.addi %row, %n{n} : i64
      {pointer(f"line{n}", "%source", f"%row{n}", "%source_row")}
      %row{n}_p = llvm.getelementptr %line{n}[%column]
          : (!llvm.ptr, i64) -> !llvm.ptr, {ELEMENTS[dtype]}
      %is_row{n} = arith.cmpi slt, %row{n}, %rows : i64
      %row{n}_mask = arith.select %is_row{n}, %columns_mask, %no_lane : {MASK}"""


def _transposed(code: VectorCode, lines: list[str]) -> list[str]:
    """16 vectors of 16: blocks of 8 x 8 change places, then of 4 x 4, 2 x 2 and 1 x 1."""
    distance = LANES // 2
    while distance:
        for n in range(LANES):
            if n & distance:
                continue
            a, b = lines[n], lines[n + distance]
            low = [i if not i & distance else LANES + i - distance for i in range(LANES)]
            high = [i + distance if not i & distance else LANES + i for i in range(LANES)]
            lines[n], lines[n + distance] = shuffle(code, a, b, low), shuffle(code, a, b, high)
        distance //= 2
    return lines


# ---- statistics of rows


def statistics_module(dtype: str) -> str:
    """bn_stats: (count, mean, variance * count) of the even elements of every row, then of the odd.

    Task: rows, elements (at least 2), source and its row bytes, result (float32) and its row bytes,
    and two words: the bits of the counts as float32.
    """
    first, means, second, after = (VectorCode(prefix) for prefix in "vwxy")
    total = first.add("%so_far", load_vector(first, "%place", "%mask", dtype))
    mean = means.divide(halves(means, "%sum", 2, "addf"), "%counts")
    deviation = second.subtract(load_vector(second, "%place", "%mask", dtype), mean)
    kept = second.where("%mask", deviation, "%zero")
    squares = second.add("%so_far", second.multiply(kept, kept))
    spread = halves(after, "%square_sum", 2, "addf")
    return f"""
{_HEAD}
  {_CONSTANTS}
  {words(0, "rows", "elements", "source_at", "source_row", "result_at", "result_row")}
  {words(6, "even", "odd")}
  %source = llvm.inttoptr %source_at : i64 to !llvm.ptr
  %result = llvm.inttoptr %result_at : i64 to !llvm.ptr
  {_joined([*first.constants, *second.constants])}
  {_count_vector()}
  scf.for %p = %c0 to %rows step %c1 : i64 {{
    {pointer("line", "%source", "%p", "%source_row")}
    {pointer("to", "%result", "%p", "%result_row")}
    {_row_loop("sum", dtype, first.lines, total)}
    {_joined(means.lines)}
    {_row_loop("square_sum", dtype, second.lines, squares)}
    {_joined(after.lines)}
    {_six_results(mean, spread)}
  }}
  llvm.return
}}"""


def _count_vector() -> str:
    """%counts: of the even elements in the even lanes, of the odd ones in the others."""
    return f"""
  %even_bits = arith.trunci %even : i64 to i32
  %odd_bits = arith.trunci %odd : i64 to i32
  %even_count = arith.bitcast %even_bits : i32 to f32
  %odd_count = arith.bitcast %odd_bits : i32 to f32
  %evens = vector.broadcast %even_count : f32 to {F}
  %odds = vector.broadcast %odd_count : f32 to {F}
  %counts = vector.shuffle %evens, %odds {[n % 2 * LANES for n in range(LANES)]} : {F}, {F}"""


def _row_loop(name: str, dtype: str, lines: list[str], result: str, start: str = "%zero") -> str:
    """%<name>: what `result` is after all elements at %line; 16 of them at %place, with %mask."""
    return f"""
    %{name} = scf.for %i = %c0 to %elements step %lanes iter_args(%so_far = {start})
        -> ({F}) : i64 {{
      %left = arith.subi %elements, %i : i64
      %count = arith.index_cast %left : i64 to index
      %mask = vector.create_mask %count : {MASK}
      %place = llvm.getelementptr %line[%i] : (!llvm.ptr, i64) -> !llvm.ptr, {ELEMENTS[dtype]}
      {_joined(lines)}
      scf.yield {result} : {F}
    }}"""


def _six_results(mean: str, spread: str) -> str:
    """%counts, `mean` and `spread` of lane 0, then of lane 1."""
    lines = []
    for n, source in enumerate(("%counts", mean, spread) * 2):
        lines.append(f"%out{n} = vector.extract {source}[{n // 3}] : f32 from {F}")
        lines.append(f"%out{n}_p = llvm.getelementptr %to[{n}] : (!llvm.ptr) -> !llvm.ptr, f32")
        lines.append(f"llvm.store %out{n}, %out{n}_p : f32, !llvm.ptr")
    return _joined(lines)


# ---- reductions of rows

_INFINITY = float("inf")
REDUCTIONS = {
    "add": ("addf", 0.0),
    "max": ("maximumf", -_INFINITY),
    "min": ("minimumf", _INFINITY),
}
"""Operation and neutral element."""


def reduction_module(dtype: str, op: str, negate: bool) -> str:
    """One float32 per run of neighbouring elements: their sum (16 interleaved ones), largest or
    smallest; times -1 with `negate`.

    Task: rows, runs per row, elements of a run, source, its bytes from row to row and from run to
    run, result and its bytes from row to row and from run to run.
    """
    operation, neutral = REDUCTIONS[op]
    code, after = VectorCode("v"), VectorCode("w")
    start = code.constant(neutral)
    kept = code.where("%mask", load_vector(code, "%place", "%mask", dtype), start)
    total = code.value(f"arith.{operation} %so_far, {kept} : {F}")
    result = halves(after, "%run", 1, operation)
    if negate:
        result = after.value(f"arith.negf {result} : {F}")
    return f"""
{_HEAD}
  {_CONSTANTS}
  {_joined(code.constants)}
  {words(0, "rows", "runs", "elements", "source_at", "source_row", "source_run")}
  {words(6, "result_at", "result_row", "result_run")}
  %source = llvm.inttoptr %source_at : i64 to !llvm.ptr
  %result = llvm.inttoptr %result_at : i64 to !llvm.ptr
  scf.for %p = %c0 to %rows step %c1 : i64 {{
    {pointer("source_line", "%source", "%p", "%source_row")}
    {pointer("result_line", "%result", "%p", "%result_row")}
    scf.for %r = %c0 to %runs step %c1 : i64 {{
      {pointer("line", "%source_line", "%r", "%source_run")}
      {pointer("to", "%result_line", "%r", "%result_run")}
      {_row_loop("run", dtype, code.lines, total, start)}
      {_joined(after.lines)}
      %value = vector.extract {result}[0] : f32 from {F}
      llvm.store %value, %to : f32, !llvm.ptr
    }}
  }}
  llvm.return
}}"""


def _joined(lines: Iterable[str]) -> str:
    return "\n".join(lines)
