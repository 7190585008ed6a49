"""MLIR text of a product of two matrices for 512-bit vectors.

result [M, N] (+)= stationary [K, M].T @ moving [K, N], float32 sums of float32 or bfloat16
operands. The rows of an operand come as *views* (some rows evenly spaced each). In rounds of at
most ROUND_ROWS rows of K, both operands are packed: the columns of the stationary matrix in panels
of PANEL_M, those of the moving matrix in panels of PANEL_N, each panel [K, width] without gaps, so
that the kernel reads memory in order. The kernel keeps PANEL_M x PANEL_N sums in registers.

Every element is the sum over k, in order, of fused multiply-adds that start from +0, a partial sum
per round; so it does not depend on how a product is cut into pieces.
"""

from __future__ import annotations

from enum import IntEnum, auto

PANEL_M = 8
PANEL_N = 32
"""16 registers of sums: enough to hide the latency of a multiply-add (4 cycles, 2 a cycle)."""

GROUP = 64
"""Columns packed together: four cache lines of a float32 row."""

ROWS_AHEAD = 32
"""Rows that packing asks for before it needs them: weights come from memory, a page per row."""

ROUND_ROWS = 512
"""A panel of the moving matrix has 64 KiB, 256 columns of the stationary one 512 KiB: half of the
second-level cache."""

VECTOR = 16
"""float32 elements of a register."""


class Field(IntEnum):
    """Words of a task, all int64. Addresses and strides in bytes, the others in elements.

    M and N go from _BEGIN to _END; result row m starts at RESULT + m // TILE_ROWS * TILE_BYTES +
    m % TILE_ROWS * RESULT_ROW. _VIEWS: address of the addresses of the VIEWS views of ROWS rows.
    """

    VIEWS = 0
    ROWS = auto()
    VIEWS_PER_ROUND = auto()
    STATIONARY_VIEWS = auto()
    STATIONARY_ROW = auto()
    STATIONARY_IS_BF16 = auto()
    STATIONARY_PACKED = auto()
    MOVING_VIEWS = auto()
    MOVING_ROW = auto()
    MOVING_IS_BF16 = auto()
    MOVING_PACKED = auto()
    M_BEGIN = auto()
    M_END = auto()
    N_BEGIN = auto()
    N_END = auto()
    RESULT = auto()
    RESULT_ROW = auto()
    TILE_ROWS = auto()
    TILE_BYTES = auto()
    ACCUMULATE = auto()


def product_module() -> str:
    """The module; its function @product takes a task of `Field`s."""
    packs = [_pack(dtype, width) for dtype in ("f32", "bf16") for width in (PANEL_M, PANEL_N)]
    return "\n".join([*packs, _kernel(), _panels(), _product()])


_VECTORS = "vector<16xf32>"

_ONCE = 'attributes {passthrough = ["noinline"]}'
"""Copies of a function in its callers would only take time to compile."""

_LOADS = {
    "f32": """
  %{name} = llvm.intr.masked.load %{name}_p, %{mask}, %zeros {{alignment = 4 : i32}}
      : (!llvm.ptr, vector<16xi1>, vector<16xf32>) -> vector<16xf32>""",
    "bf16": """
  %{name}_half = llvm.intr.masked.load %{name}_p, %{mask}, %zeros {{alignment = 2 : i32}}
      : (!llvm.ptr, vector<16xi1>, vector<16xi16>) -> vector<16xi16>
  %{name}_wide = arith.extui %{name}_half : vector<16xi16> to vector<16xi32>
  %{name}_bits = arith.shli %{name}_wide, %sixteen : vector<16xi32>
  %{name} = arith.bitcast %{name}_bits : vector<16xi32> to vector<16xf32>""",
}
"""16 elements at %name_p as float32 %name; 0 where %mask is not set."""

_ZEROS = {
    "f32": "%zeros = arith.constant dense<0.0> : vector<16xf32>",
    "bf16": "%zeros = arith.constant dense<0> : vector<16xi16>",
}


def _pack(dtype: str, width: int) -> str:
    """@pack_<dtype>_<width>: columns of views into panels; missing columns of the last group are 0.

    Panel c / width starts at target + c * K.
    """
    size, element = (4, "f32") if dtype == "f32" else (2, "i16")
    return f"""
llvm.func internal @pack_{dtype}_{width}(%views: !llvm.ptr, %count: i64, %rows: i64,
    %row_bytes: i64, %begin: i64, %end: i64, %target: !llvm.ptr) {_ONCE} {{
  %c0 = arith.constant 0 : i64
  %c1 = arith.constant 1 : i64
  %size = arith.constant {size} : i64
  %group = arith.constant {GROUP} : i64
  %width = arith.constant {width} : i64
  %sixteen = arith.constant dense<16> : vector<16xi32>
  {_ZEROS[dtype]}
  %rows_ahead = arith.constant {ROWS_AHEAD} : i64
  %ahead_bytes = arith.muli %rows_ahead, %row_bytes : i64
  %columns = arith.subi %end, %begin : i64
  %k = arith.muli %count, %rows : i64
  %panel_step = arith.muli %k, %width : i64
  scf.for %c = %c0 to %columns step %group : i64 {{
    {_masks("%columns", "%c", range(GROUP // VECTOR))}
    %column = arith.addi %begin, %c : i64
    %column_bytes = arith.muli %column, %size : i64
    %panel_at = arith.muli %c, %k : i64
    %panel = llvm.getelementptr %target[%panel_at] : (!llvm.ptr, i64) -> !llvm.ptr, f32
    scf.for %v = %c0 to %count step %c1 : i64 {{
      %view_p = llvm.getelementptr %views[%v] : (!llvm.ptr, i64) -> !llvm.ptr, !llvm.ptr
      %view = llvm.load %view_p : !llvm.ptr -> !llvm.ptr
      %first = llvm.getelementptr %view[%column_bytes] : (!llvm.ptr, i64) -> !llvm.ptr, i8
      %row_of_view = arith.muli %v, %rows : i64
      scf.for %r = %c0 to %rows step %c1 : i64 {{
        %offset = arith.muli %r, %row_bytes : i64
        %from = llvm.getelementptr %first[%offset] : (!llvm.ptr, i64) -> !llvm.ptr, i8
        %ahead = llvm.getelementptr %from[%ahead_bytes] : (!llvm.ptr, i64) -> !llvm.ptr, i8
        {"".join(_fetch_ahead(line) for line in range(GROUP * size // 64))}
        {"".join(_load_part(n, dtype, element) for n in range(GROUP // VECTOR))}
        %row = arith.addi %row_of_view, %r : i64
        %at = arith.muli %row, %width : i64
        %to0 = llvm.getelementptr %panel[%at] : (!llvm.ptr, i64) -> !llvm.ptr, f32
        {_store_narrow() if width == PANEL_M else _store_wide()}
      }}
    }}
  }}
  llvm.return
}}"""


def _fetch_ahead(line: int) -> str:
    """Into the second-level cache; past the end of an operand it does nothing."""
    return f"""
        %line{line} = llvm.getelementptr %ahead[{64 * line}] : (!llvm.ptr) -> !llvm.ptr, i8
        "llvm.intr.prefetch"(%line{line}) <{{cache = 1 : i32, hint = 2 : i32, rw = 0 : i32}}>
            : (!llvm.ptr) -> ()"""


def _load_part(number: int, dtype: str, element: str) -> str:
    """%part<number>: the 16 elements of that number after %from."""
    name = f"part{number}"
    return f"""
        %{name}_p = llvm.getelementptr %from[{number * VECTOR}]
            : (!llvm.ptr) -> !llvm.ptr, {element}
        {_LOADS[dtype].format(name=name, mask=f"mask{number}")}"""


def _store_wide() -> str:
    """Panels of PANEL_N = 2 vectors."""
    lines = []
    for number in range(GROUP // PANEL_N):
        lines.append(
            f"""
  %high{number} = llvm.getelementptr %to{number}[{VECTOR}] : (!llvm.ptr) -> !llvm.ptr, f32
  llvm.store %part{2 * number}, %to{number} {{alignment = 64}} : {_VECTORS}, !llvm.ptr
  llvm.store %part{2 * number + 1}, %high{number} {{alignment = 64}} : {_VECTORS}, !llvm.ptr
  {_next_panel(number)}"""
        )
    return "".join(lines)


def _store_narrow() -> str:
    """Panels of PANEL_M = half a vector."""
    lines = []
    for number in range(GROUP // PANEL_M):
        lines.append(
            f"""
  %half{number} = vector.extract_strided_slice %part{number // 2}
      {{offsets = [{number % 2 * PANEL_M}], sizes = [{PANEL_M}], strides = [1]}}
      : {_VECTORS} to vector<8xf32>
  llvm.store %half{number}, %to{number} {{alignment = 32}} : vector<8xf32>, !llvm.ptr
  {_next_panel(number)}"""
        )
    return "".join(lines)


def _next_panel(number: int) -> str:
    return (
        f"%to{number + 1} = llvm.getelementptr %to{number}[%panel_step] "
        ": (!llvm.ptr, i64) -> !llvm.ptr, f32"
    )


def _masks(end: str, begin: str, parts: range) -> str:
    """%mask<n>: which of the 16 columns from begin + 16 n on lie before the end."""
    return "\n".join(
        f"""
  %at{n} = arith.constant {n * VECTOR} : i64
  %before{n} = arith.subi {end}, {begin} : i64
  %left{n} = arith.subi %before{n}, %at{n} : i64
  %count{n} = arith.index_cast %left{n} : i64 to index
  %mask{n} = vector.create_mask %count{n} : vector<16xi1>"""
        for n in parts
    )


_PARTS_N = range(PANEL_N // VECTOR)
_SUMS = [(m, part) for m in range(PANEL_M) for part in _PARTS_N]


def _kernel() -> str:
    """@kernel: PANEL_M x PANEL_N results, of which `rows` x `columns` are stored."""
    types = ", ".join([_VECTORS] * len(_SUMS))
    begin = ", ".join(f"%old{m}_{part} = %zero" for m, part in _SUMS)
    end = ", ".join(f"%new{m}_{part}" for m, part in _SUMS)
    return f"""
llvm.func internal @kernel(%stationary: !llvm.ptr, %moving: !llvm.ptr, %k: i64,
    %result: !llvm.ptr, %row_bytes: i64, %rows: i64, %columns: i64, %accumulate: i1) {_ONCE} {{
  %c0 = arith.constant 0 : i64
  %c1 = arith.constant 1 : i64
  %panel_m = arith.constant {PANEL_M} : i64
  %panel_n = arith.constant {PANEL_N} : i64
  %zero = arith.constant dense<0.0> : {_VECTORS}
  %sums:{len(_SUMS)} = scf.for %i = %c0 to %k step %c1 iter_args({begin}) -> ({types}) : i64 {{
    %s_at = arith.muli %i, %panel_m : i64
    %m_at = arith.muli %i, %panel_n : i64
    %s = llvm.getelementptr %stationary[%s_at] : (!llvm.ptr, i64) -> !llvm.ptr, f32
    %m = llvm.getelementptr %moving[%m_at] : (!llvm.ptr, i64) -> !llvm.ptr, f32
    {_multiply_adds()}
    scf.yield {end} : {types}
  }}
  {_masks("%columns", "%c0", _PARTS_N)}
  {"".join(_store_row(m) for m in range(PANEL_M))}
  llvm.return
}}"""


def _multiply_adds() -> str:
    lines = []
    for part in _PARTS_N:
        lines.append(
            f"%m_p{part} = llvm.getelementptr %m[{part * VECTOR}] : (!llvm.ptr) -> !llvm.ptr, f32"
        )
        lines.append(
            f"%m{part} = llvm.load %m_p{part} {{alignment = 64}} : !llvm.ptr -> {_VECTORS}"
        )
    for m in range(PANEL_M):
        lines.append(f"%s_p{m} = llvm.getelementptr %s[{m}] : (!llvm.ptr) -> !llvm.ptr, f32")
        lines.append(f"%s{m} = llvm.load %s_p{m} : !llvm.ptr -> f32")
        lines.append(f"%s_all{m} = vector.broadcast %s{m} : f32 to {_VECTORS}")
    lines += [
        f"%new{m}_{part} = llvm.intr.fma(%s_all{m}, %m{part}, %old{m}_{part}) "
        f": ({_VECTORS}, {_VECTORS}, {_VECTORS}) -> {_VECTORS}"
        for m, part in _SUMS
    ]
    return "\n".join(lines)


def _store_row(m: int) -> str:
    parts = "".join(_store_part(part, m * len(_PARTS_N) + part) for part in _PARTS_N)
    return f"""
  %row{m} = arith.constant {m} : i64
  %is_row{m} = arith.cmpi sgt, %rows, %row{m} : i64
  scf.if %is_row{m} {{
    %row_at = arith.muli %row_bytes, %row{m} : i64
    %row_p = llvm.getelementptr %result[%row_at] : (!llvm.ptr, i64) -> !llvm.ptr, i8
    {parts}
  }}"""


def _store_part(part: int, number: int) -> str:
    return f"""
    %p{part} = llvm.getelementptr %row_p[{part * VECTOR}] : (!llvm.ptr) -> !llvm.ptr, f32
    %value{part} = scf.if %accumulate -> ({_VECTORS}) {{
      %before = llvm.intr.masked.load %p{part}, %mask{part}, %zero {{alignment = 4 : i32}}
          : (!llvm.ptr, vector<16xi1>, {_VECTORS}) -> {_VECTORS}
      %total = arith.addf %before, %sums#{number} : {_VECTORS}
      scf.yield %total : {_VECTORS}
    }} else {{
      scf.yield %sums#{number} : {_VECTORS}
    }}
    llvm.intr.masked.store %value{part}, %p{part}, %mask{part} {{alignment = 4 : i32}}
        : {_VECTORS}, vector<16xi1> into !llvm.ptr"""


def _panels() -> str:
    """@panels: all results of one round, from packed operands."""
    return f"""
llvm.func internal @panels(%task: !llvm.ptr, %k: i64, %accumulate: i1) {_ONCE} {{
  %c0 = arith.constant 0 : i64
  %panel_m = arith.constant {PANEL_M} : i64
  %panel_n = arith.constant {PANEL_N} : i64
  {_read(Field.STATIONARY_PACKED, Field.MOVING_PACKED, Field.RESULT)}
  {_read(Field.M_BEGIN, Field.M_END, Field.N_BEGIN, Field.N_END)}
  {_read(Field.RESULT_ROW, Field.TILE_ROWS, Field.TILE_BYTES)}
  %stationary = llvm.inttoptr %stationary_packed : i64 to !llvm.ptr
  %moving = llvm.inttoptr %moving_packed : i64 to !llvm.ptr
  %results = llvm.inttoptr %result : i64 to !llvm.ptr
  scf.for %n = %n_begin to %n_end step %panel_n : i64 {{
    %n_done = arith.subi %n, %n_begin : i64
    %moving_at = arith.muli %n_done, %k : i64
    %m_panel = llvm.getelementptr %moving[%moving_at] : (!llvm.ptr, i64) -> !llvm.ptr, f32
    %columns = arith.subi %n_end, %n : i64
    scf.for %m = %m_begin to %m_end step %panel_m : i64 {{
      %m_done = arith.subi %m, %m_begin : i64
      %stationary_at = arith.muli %m_done, %k : i64
      %s_panel = llvm.getelementptr %stationary[%stationary_at]
          : (!llvm.ptr, i64) -> !llvm.ptr, f32
      %rows = arith.subi %m_end, %m : i64
      %tile = arith.divui %m, %tile_rows : i64
      %row = arith.remui %m, %tile_rows : i64
      %tile_at = arith.muli %tile, %tile_bytes : i64
      %row_at = arith.muli %row, %result_row : i64
      %at = arith.addi %tile_at, %row_at : i64
      %row_p = llvm.getelementptr %results[%at] : (!llvm.ptr, i64) -> !llvm.ptr, i8
      %p = llvm.getelementptr %row_p[%n] : (!llvm.ptr, i64) -> !llvm.ptr, f32
      llvm.call @kernel(%s_panel, %m_panel, %k, %p, %result_row, %rows, %columns, %accumulate)
          : (!llvm.ptr, !llvm.ptr, i64, !llvm.ptr, i64, i64, i64, i1) -> ()
    }}
  }}
  llvm.return
}}"""


def _product() -> str:
    """@product: rounds over the views."""
    return f"""
llvm.func @product(%task: !llvm.ptr) {{
  %c0 = arith.constant 0 : i64
  {_read(Field.VIEWS, Field.ROWS, Field.VIEWS_PER_ROUND, Field.ACCUMULATE)}
  scf.for %view = %c0 to %views step %views_per_round : i64 {{
    %left = arith.subi %views, %view : i64
    %count = arith.minsi %left, %views_per_round : i64
    {_pack_operand("stationary", PANEL_M, Field.M_BEGIN, Field.M_END)}
    {_pack_operand("moving", PANEL_N, Field.N_BEGIN, Field.N_END)}
    %k = arith.muli %count, %rows : i64
    %is_later = arith.cmpi sgt, %view, %c0 : i64
    %is_sum = arith.cmpi ne, %accumulate, %c0 : i64
    %adds = arith.ori %is_later, %is_sum : i1
    llvm.call @panels(%task, %k, %adds) : (!llvm.ptr, i64, i1) -> ()
  }}
  llvm.return
}}"""


def _pack_operand(name: str, width: int, begin: Field, end: Field) -> str:
    fields = [Field[f"{name.upper()}_{part}"] for part in ("VIEWS", "ROW", "IS_BF16", "PACKED")]
    arguments = (
        f"(%{name}_from, %count, %rows, %{name}_row, %{begin.name.lower()}, %{end.name.lower()}, "
        f"%{name}_to) : (!llvm.ptr, i64, i64, i64, i64, i64, !llvm.ptr) -> ()"
    )
    return f"""
  {_read(*fields, begin, end)}
  %{name}_all = llvm.inttoptr %{name}_views : i64 to !llvm.ptr
  %{name}_from = llvm.getelementptr %{name}_all[%view] : (!llvm.ptr, i64) -> !llvm.ptr, i64
  %{name}_to = llvm.inttoptr %{name}_packed : i64 to !llvm.ptr
  %{name}_narrow = arith.cmpi ne, %{name}_is_bf16, %c0 : i64
  scf.if %{name}_narrow {{
    llvm.call @pack_bf16_{width}{arguments}
  }} else {{
    llvm.call @pack_f32_{width}{arguments}
  }}"""


def _read(*fields: Field) -> str:
    """Values %<field in small letters> from %task."""
    return "\n".join(
        f"""
  %{f.name.lower()}_at = llvm.getelementptr %task[{f.value}] : (!llvm.ptr) -> !llvm.ptr, i64
  %{f.name.lower()} = llvm.load %{f.name.lower()}_at : !llvm.ptr -> i64"""
        for f in fields
    )
