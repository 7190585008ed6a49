"""The same bits whatever number of CPUs and BLAS threads there is."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import hashlib
from unittest import mock
import jax, jax.numpy as jnp, numpy as np
import axonc
from axonc.backends.executor import machine

RNG = np.random.default_rng(0)
shapes = (509, 517), (517, 1023), (1023, 333)  # pieces are of other sizes, in all dims
arrays = [RNG.standard_normal(s).astype(np.float32) for s in shapes]
norm = lambda x: (x - x.mean(-1, keepdims=True)) / jnp.sqrt(x.var(-1, keepdims=True) + 1e-5)
lowered = jax.jit(lambda x, w, v: jax.nn.softmax(norm(jax.nn.gelu(x @ w)) @ v)).lower(*arrays)
wide = machine.has_wide_vectors()
for mode in "native", "numpy", "checked":
    with mock.patch.object(machine, "has_wide_vectors", lambda: mode == "native" and wide):
        found = axonc.compile(lowered).run(*arrays, checked=mode == "checked")[0]
    print(mode, hashlib.sha256(found.tobytes()).hexdigest())
"""


def bits(cpus: set[int], blas_threads: str) -> str:
    """What the program prints; blas_threads: "" for as many as the library likes."""
    environment = {k: v for k, v in os.environ.items() if k != "OPENBLAS_NUM_THREADS"}
    if blas_threads:
        environment["OPENBLAS_NUM_THREADS"] = blas_threads
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env=environment | {"JAX_PLATFORMS": "cpu"},
        preexec_fn=lambda: os.sched_setaffinity(0, cpus),
        capture_output=True,
        text=True,
        check=True,
    )
    assert len(done.stdout.split()) == 6
    return done.stdout


@pytest.mark.skipif(
    not Path("/proc").exists() or len(os.sched_getaffinity(0)) < 2, reason="needs Linux, two CPUs"
)
def test_bits_do_not_depend_on_cpus_and_blas_threads() -> None:
    both = set(sorted(os.sched_getaffinity(0))[:2])
    one = {min(both)}
    expected = bits(one, "1")
    for cpus, threads in ((one, ""), (both, "1"), (both, "2"), (both, "")):
        assert bits(cpus, threads) == expected, (cpus, threads)
