"""Fixtures of the tests in this folder itself."""

from __future__ import annotations

from pathlib import Path

import pytest
import small_models


@pytest.fixture(scope="session")
def dense_program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program file of small_models.DENSE, all three arguments inputs."""
    import axonc

    path = tmp_path_factory.mktemp("programs") / "dense.axon"
    axonc.compile(small_models.DENSE).save(path)
    return path
