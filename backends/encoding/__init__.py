"""Instruction streams as bytes (`encode_stream`, `decode_stream`) and as text (`assemble`,
`disassemble`)."""

from axonc.backends.encoding.decode import decode_stream as decode_stream
from axonc.backends.encoding.disassembler import disassemble as disassemble
from axonc.backends.encoding.disassembler import instruction_text as instruction_text
from axonc.backends.encoding.encode import encode_stream as encode_stream


def __getattr__(name: str) -> object:
    """The assembler is loaded when first asked for: running a program needs no parser."""
    if name in ("assemble", "assemble_streams"):
        from axonc.backends.encoding import assembler

        return getattr(assembler, name)
    raise AttributeError(name)
