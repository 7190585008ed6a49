"""Benchmarks: modelled and host times against published or independent ones."""
