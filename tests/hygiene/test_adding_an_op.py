"""A new elementwise op takes one entry in each of two tables, as docs/how-to-add/op.md says: tried
on a copy of the tree, with an op that the compiler does not have."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from source_tree import FOLDERS, ROOT

ENTRIES = {
    "dialects/neuron/table.py": (
        "_ENTRIES = (\n",
        '    Elementwise("cube", 1, lambda x: x**3, FLOAT, "x * x * x", composite="toy.cube"),\n',
    ),
    "passes/tile/elementwise/float_rewrites.py": (
        "_FUNCTIONS: dict[str, Callable[..., Expression]] = {\n",
        '    "cube": lambda x: multiply(x, multiply(x, x)),\n',
    ),
}
"""By file: the line a table begins with, and the new entry."""

PROGRAM = """
import numpy as np
import axonc

SOURCE = '''
func.func @main(%x: tensor<129x7xf32>) -> tensor<129x7xf32> {
  %0 = stablehlo.composite "toy.cube" %x {decomposition = @cube} :
    (tensor<129x7xf32>) -> tensor<129x7xf32>
  return %0 : tensor<129x7xf32>
}
func.func private @cube(%x: tensor<129x7xf32>) -> tensor<129x7xf32> {
  return %x : tensor<129x7xf32>
}
'''
x = np.random.default_rng(0).standard_normal((129, 7), dtype=np.float32)
(y,) = axonc.compile(SOURCE).run(x, checked=True)
np.testing.assert_allclose(y, x.astype(np.float64) ** 3, rtol=1e-6)
print(axonc.__file__)
"""


def test_a_new_elementwise_op_is_an_entry_in_each_of_two_tables(tmp_path: Path) -> None:
    package = tmp_path / "axonc"
    for folder in FOLDERS:
        target = package if folder == "compiler" else package / folder
        shutil.copytree(ROOT / folder, target, ignore=shutil.ignore_patterns("__pycache__"))
    for name, (table, entry) in ENTRIES.items():
        path = package / name
        text = path.read_text()
        assert text.count(table) == 1
        path.write_text(text.replace(table, table + entry))
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()).is_relative_to(tmp_path)
