"""The registry: complete, free of duplicates, and honest about operand names."""

import inspect

import pytest

from axonc.backends.executor.semantics import SEMANTICS
from axonc.backends.executor.semantics.collective import COLLECTIVES
from axonc.backends.executor.semantics.registry import semantics
from axonc.backends.isa import INSTRUCTIONS
from axonc.backends.isa.spec import Role

HANDLED_BY_THE_EXECUTOR = {"load_stationary", "multiply_moving"}
"""Their state (systolic array, PSUM accumulation) is the executor's; the product is `matmul`."""


def data_path() -> set[str]:
    return {
        spec.mnemonic
        for spec in INSTRUCTIONS
        if any(o.role is not Role.READ for o in spec.operands) or spec.mnemonic == "set_rng_seed"
    }


def test_every_instruction_that_writes_data_has_a_meaning() -> None:
    sequencer = {m for m in data_path() if m.startswith("register_")}
    collective = set(COLLECTIVES) | {"collective_permute"}
    assert data_path() - sequencer - HANDLED_BY_THE_EXECUTOR - collective == set(SEMANTICS)
    assert collective == {i.mnemonic for i in INSTRUCTIONS if "group" in i.field_index}


def test_a_second_meaning_is_refused() -> None:
    with pytest.raises(ValueError, match="two functions claim the semantics of tensor_copy"):
        semantics("tensor_copy", operands="raw")(lambda inputs, fields, context: {})


def test_every_function_is_documented() -> None:
    for mnemonic, meaning in SEMANTICS.items():
        assert inspect.getdoc(meaning.function), mnemonic
