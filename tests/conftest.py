"""Fixtures of the tests in this folder itself."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import pytest
import small_models


@pytest.fixture(autouse=True)
def data_of_the_test_alone(request: pytest.FixtureRequest) -> None:
    """A module's `RNG` begins anew in every test, so that its data do not depend on which tests ran
    before in the same process."""
    generator = getattr(request.module, "RNG", None)
    if isinstance(generator, np.random.Generator):
        seed = zlib.crc32(request.node.name.encode())
        generator.bit_generator.state = np.random.default_rng(seed).bit_generator.state


@pytest.fixture(scope="session")
def dense_program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program file of small_models.DENSE, all three arguments inputs."""
    import axonc

    path = tmp_path_factory.mktemp("programs") / "dense.axon"
    axonc.compile(small_models.DENSE).save(path)
    return path
