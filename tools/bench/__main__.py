"""All benchmarks, one table each: `python -m axonc.tools.bench`."""

from axonc.tools.bench import bert_large, gemm_kernels, instructions

for benchmark in (instructions, gemm_kernels, bert_large):
    benchmark.main([])
