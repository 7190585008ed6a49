"""The registry: complete, free of duplicates, and honest about operand names."""

import inspect

import pytest

from axonc.backends.executor.semantics import SEMANTICS
from axonc.backends.executor.semantics.collective import COLLECTIVES
from axonc.backends.executor.semantics.registry import semantics
from axonc.backends.isa import INSTRUCTIONS
from axonc.backends.isa.spec import Action


def test_every_instruction_that_computes_has_a_meaning() -> None:
    """Of transfers, what they compute; of the tensor engine the product is `matmul`, the state of
    its array the executor's."""
    wanted = {Action.COMPUTE, Action.TRANSFER}
    assert {s.mnemonic for s in INSTRUCTIONS if s.action in wanted} == set(SEMANTICS)


def test_every_collective_has_a_meaning() -> None:
    collectives = {s.mnemonic: s for s in INSTRUCTIONS if s.action is Action.COLLECTIVE}
    pairwise = {m for m, s in collectives.items() if s.exchange and s.exchange.is_pairwise}
    assert set(collectives) == set(COLLECTIVES) | pairwise and pairwise == {"collective_permute"}


def test_a_meaning_of_no_instruction_is_refused() -> None:
    with pytest.raises(ValueError, match="semantics of tensor_cpy, which is no instruction"):
        semantics("tensor_cpy", operands="raw")(lambda inputs, fields, context: {})


def test_a_second_meaning_is_refused() -> None:
    with pytest.raises(ValueError, match="two functions claim the semantics of tensor_copy"):
        semantics("tensor_copy", operands="raw")(lambda inputs, fields, context: {})


def test_every_function_is_documented() -> None:
    for mnemonic in SEMANTICS:
        assert inspect.getdoc(SEMANTICS[mnemonic].function), mnemonic
