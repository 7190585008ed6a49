"""Every module can be imported first: none counts on what another has loaded."""

from __future__ import annotations

import subprocess
import sys

import pytest
from source_tree import module_name, source_files

# Libraries are loaded once, the package anew in a child of this process for each module.
IMPORTER = """
import importlib, importlib.util, os, sys, traceback

import jax.export, jaxlib.mlir.dialects.sdy, numpy, safetensors, torch_mlir.dialects.torch
if importlib.util.find_spec("torch"):
    import torch

failed = 0
for module in sys.argv[1:]:
    child = os.fork()
    if not child:
        try:
            importlib.import_module(module)
        except ModuleNotFoundError as error:
            os._exit(error.name not in ("torch", "transformers"))  # these may be left out
        except BaseException:
            print(module, traceback.format_exc().splitlines()[-1])
            sys.stdout.flush()
            os._exit(1)
        os._exit(0)
    failed += os.waitpid(child, 0)[1] != 0
assert not any(name.startswith("axonc") for name in sys.modules)
print(failed, "of", len(sys.argv) - 1, "failed")
"""


@pytest.mark.parametrize("part", range(2))
def test_every_module_can_be_imported_first(part: int) -> None:
    modules = sorted(module_name(path) for path in source_files())[part::2]
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", IMPORTER, *modules], capture_output=True, text=True
    )
    assert done.stdout == f"0 of {len(modules)} failed\n", done.stdout + done.stderr
