"""One correct instruction per entry, as assembly text: shown on the reference page, starting point of
the tests."""

# ruff: noqa: E501 - one instruction, one line

from __future__ import annotations

from functools import cache

from axonc.backends.encoding.assembler import assemble
from axonc.backends.isa.instruction import Instruction

EXAMPLES = """
tensor: load_stationary stationary=sbuf[0:128]@0x0:bf16[128:1]
tensor: multiply_moving dst=psum[0:128]@0x800:f32[512:1] moving=sbuf[0:128]@0x100:bf16[512:1] accumulate=true wait(S[17]>=32) signal(S[0]+=1)
vector: tensor_tensor dst=sbuf[0:128]@0x1000:f32[512:1] src0=psum[0:128]@0x800:f32[512:1] src1=sbuf[0:128]@0x2000:f32[512:1] op=add wait(S[0]>=1) signal(S[1]+=1) loc=3
vector: tensor_scalar dst=sbuf[0:128]@0x1000:f32[512:1] src=sbuf[0:128]@0x1000:f32[512:1] scalar0=sbuf[0:128]@0x0:f32[1:1] op0=multiply op1=add imm1=1e-05
vector: scalar_tensor_tensor dst=sbuf[0:128]@0x1000:bf16[512:1] src0=sbuf[0:128]@0x1000:bf16[512:1] scalar=sbuf[0:128]@0x0:f32[1:1] src1=sbuf[0:128]@0x2000:bf16[512:1] op0=subtract op1=multiply
vector: tensor_reduce dst=sbuf[0:128]@0x40:f32[8:1] src=sbuf[0:128]@0x1000:f32[8:64,64:1] op=max
vector: tensor_tensor_scan dst=sbuf[0:64]@0x1000:f32[512:1] src0=sbuf[0:64]@0x1000:f32[512:1] src1=sbuf[64:128]@0x1000:f32[512:1] op0=multiply op1=add imm_initial=1.0
vector: bn_stats dst=sbuf[0:128]@0x40:f32[6:1] src=sbuf[0:128]@0x1000:f32[512:1]
vector: bn_aggr dst=sbuf[0:128]@0x80:f32[2:1] src=sbuf[0:128]@0x40:f32[12:1]
vector: tensor_copy dst=sbuf[0:128]@0x1000:bf16[512:1] src=psum[0:128]@0x0:f32[512:1]
vector: tensor_copy_predicated dst=sbuf[0:32]@0x1000:f32[64:1] src=sbuf[32:64]@0x1000:f32[64:1] predicate=sbuf[0:32]@0x0:u8[64:1]
vector: select_reduce dst=sbuf[0:32]@0x1000:f32[64:1] predicate=sbuf[0:32]@0x0:u8[64:1] on_true=sbuf[0:32]@0x2000:f32[64:1] imm_false=-inf
vector: reciprocal dst=sbuf[0:128]@0x40:f32[1:1] src=sbuf[0:128]@0x44:f32[1:1]
gpsimd: memset dst=sbuf[0:128]@0x1000:bf16[512:1] value_bits=16256
vector: vector_transpose dst=sbuf[0:32]@0x1000:bf16[32:1] src=sbuf[0:32]@0x2000:bf16[32:1]
vector: stream_shuffle dst=sbuf[0:64]@0x1000:f32[16:1] src=sbuf[0:64]@0x2000:f32[16:1] mask0=0 mask1=0 mask2=50462976
vector: max8 dst=sbuf[0:128]@0x40:f32[8:1] src=sbuf[0:128]@0x1000:f32[512:1]
vector: find_index8 dst=sbuf[0:128]@0x80:u32[8:1] src=sbuf[0:128]@0x1000:f32[512:1] values=sbuf[0:128]@0x40:f32[8:1]
vector: match_replace8 dst=sbuf[0:128]@0x1000:f32[512:1] src=sbuf[0:128]@0x1000:f32[512:1] values=sbuf[0:128]@0x40:f32[8:1] imm=-inf
vector: rng dst=sbuf[0:128]@0x1000:u32[512:1]
vector: set_rng_seed src=sbuf[0:1]@0x0:u32[1:1]
scalar: activation dst=sbuf[0:128]@0x1000:bf16[512:1] src=psum[0:128]@0x0:f32[512:1] bias=sbuf[0:128]@0x0:f32[1:1] accumulate=sbuf[0:128]@0x4:f32[1:1] func=exp scale=0.125
scalar: act_table_load table=natural_log_exp_and_others
gpsimd: iota dst=sbuf[0:128]@0x1000:i32[4:8,8:1] offset=-5 channel_multiplier=32 step0=8 step1=1
gpsimd: affine_select dst=sbuf[0:128]@0x1000:f32[128:1] src=sbuf[0:128]@0x1000:f32[128:1] channel_multiplier=1 step0=-1 compare=is_ge imm=-3.4028235e+38
gpsimd: local_gather dst=sbuf[0:128]@0x1000:f32[256:1] src=sbuf[0:128]@0x2000:f32[512:1] indices=sbuf[0:128]@0x0:u16[4:1] elements_per_index=4
gpsimd: partition_reduce dst=sbuf[0:1]@0x1000:f32[512:1] src=sbuf[0:128]@0x2000:f32[512:1] op=max
sync: dma_copy dst=sbuf[0:128]@0x1000:bf16[768:1] src=hbm@0x40000:bf16[30522:768,768:1] index=sbuf[0:128]@0x0:u32[1:1] queue=3 op=copy oob=error indirect=gather signal(S[8]+=16)
gpsimd: all_reduce dst=sbuf[0:128]@0x1000:f32[1024:1] src=sbuf[0:128]@0x2000:f32[1024:1] op=add wait(S[1]>=3) signal(S[21]+=1)
gpsimd: all_gather dst=hbm@0x40000:bf16[2:65536,128:512,512:1] src=hbm@0x0:bf16[128:512,512:1] group=1
gpsimd: reduce_scatter dst=hbm@0x0:f32[128:512,512:1] src=hbm@0x40000:f32[2:65536,128:512,512:1] group=1 op=max
gpsimd: all_to_all dst=hbm@0x80000:f32[2:65536,65536:1] src=hbm@0x40000:f32[2:65536,65536:1]
gpsimd: collective_permute dst=sbuf[0:64]@0x1000:bf16[512:1] src=sbuf[0:64]@0x2000:bf16[512:1] group=2
sync: semaphore_wait semaphore=5 value=240
sync: semaphore_set semaphore=5
sync: semaphore_add semaphore=5 value=1
vector: register_move dst=3 imm=-1
vector: register_alu op=subtract dst=3 a=3 imm=1 use_imm=true
gpsimd: register_load src=sbuf[5:6]@0x10:i32[1:1] dst=7
gpsimd: register_store dst=sbuf[5:6]@0x10+r2:i32[1:1] src=7
vector: branch compare=is_gt a=3 use_imm=true target=12
sync: halt
tensor: nop wait(S[1]>=7) signal(S[0]+=1)
"""


@cache
def example_instructions() -> dict[str, Instruction]:
    """The examples by mnemonic, in the order of the text."""
    return {instruction.spec.mnemonic: instruction for instruction in assemble(EXAMPLES)}
