"""All benchmarks, one table each: `python -m axonc.tools.bench`."""

from axonc.tools.bench import bert_large, gemm_kernels, instructions

if __name__ == "__main__":
    instructions.main()
    gemm_kernels.main()
    bert_large.main([])
