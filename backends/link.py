"""Puts the programs of different cores together: one target, one table of replica groups."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from axonc.backends.encoding import decode_stream, encode_stream
from axonc.backends.isa.collective import is_collective
from axonc.backends.isa.collective_groups import group_number
from axonc.backends.isa.instruction import Instruction
from axonc.backends.program import CoreProgram, Groups, Program
from axonc.diagnostics import UsageError


def link_programs(programs: Sequence[Program], program_of: Sequence[int]) -> CoreProgram:
    """A program of len(program_of) cores; core c runs programs[program_of[c]]. Each was made for
    that many cores; its replica groups name cores of the whole.

    Raises: UsageError for different targets, or a program for another number of cores.
    """
    cores = len(program_of)
    for program in programs:
        if (program.target, program.cores) != (programs[0].target, cores):
            raise UsageError(
                f"a program for {program.cores} cores of {program.target} among {cores} cores of "
                f"{programs[0].target}"
            )
    table: list[Groups] = []
    for program in programs:
        table += [groups for groups in program.groups if groups not in table]
    linked = tuple(_with_table(program, tuple(table)) for program in programs)
    return CoreProgram(linked, tuple(program_of))


def _with_table(program: Program, table: tuple[Groups, ...]) -> Program:
    if program.groups == table:
        return program
    numbers = [table.index(groups) for groups in program.groups]
    streams = {}
    for engine, data in program.streams.items():
        stream = decode_stream(data)
        if any(is_collective(instruction) for instruction in stream):
            data = encode_stream([_renumbered(instruction, numbers) for instruction in stream])
        streams[engine] = data
    return replace(program, streams=streams, groups=table)


def _renumbered(instruction: Instruction, numbers: list[int]) -> Instruction:
    """The instruction with the number that its group has in the common table."""
    if not is_collective(instruction):
        return instruction
    number = numbers[group_number(instruction)]
    return replace(instruction, fields=instruction.fields_with("group", number))
