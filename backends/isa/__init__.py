"""The instruction set as data. Importing this package fills `INSTRUCTIONS`."""

from axonc.backends.isa import collective as collective
from axonc.backends.isa import dma as dma
from axonc.backends.isa import gpsimd as gpsimd
from axonc.backends.isa import scalar as scalar
from axonc.backends.isa import sync as sync
from axonc.backends.isa import tensor as tensor
from axonc.backends.isa import vector as vector
from axonc.backends.isa.access_pattern import HbmAccess as HbmAccess
from axonc.backends.isa.access_pattern import Memory as Memory
from axonc.backends.isa.access_pattern import TileAccess as TileAccess
from axonc.backends.isa.construct import instruction as instruction
from axonc.backends.isa.effects import accesses_read as accesses_read
from axonc.backends.isa.effects import accesses_written as accesses_written
from axonc.backends.isa.instruction import Instruction as Instruction
from axonc.backends.isa.spec import INSTRUCTIONS as INSTRUCTIONS
from axonc.backends.isa.spec import InstructionSpec as InstructionSpec
from axonc.backends.isa.verifier import Verifier as Verifier
from axonc.backends.isa.verifier import verify as verify
