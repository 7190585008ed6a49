"""A decoder of GPT-3's shape, without its weights: what it would need of every core.

`python -m axonc.tools.models.gpt3_shape --cores 24 --layers 96` compiles one decoding step (one new
token against a key-value cache) or a prefill, tensor parallel, and prints memory and modelled time
per token of each core. No weight exists anywhere: arguments have names and types alone.

Sizes: Brown et al., "Language Models are Few-Shot Learners", 2020, table 2.1 (96 layers, 96 heads
of 128, width 12288); feed-forward 4 x width; vocabulary of GPT-2 padded to divide by 24. bf16.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections import Counter
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import axonc
from axonc.backends.program import Program, TensorKind
from axonc.frontends import import_program
from axonc.imported.program import ImportedProgram
from axonc.tools.program_report import facts
from axonc.weights.references import WeightRef

Params = dict[str, Any]
_DTYPE = jnp.bfloat16
_EPSILON = 1e-5


@dataclass(frozen=True)
class Shape:
    """Sizes in elements."""

    layers: int = 96
    width: int = 12288
    heads: int = 96
    vocabulary: int = 50304
    cache: int = 2048
    """Tokens the key-value cache holds."""
    tokens: int = 1
    """New ones of a prefill."""
    batch: int = 1

    @property
    def head_width(self) -> int:
        return self.width // self.heads

    @property
    def parameters(self) -> int:
        return sum(int(np.prod(shape)) for shape in weight_shapes(self).values())


def weight_shapes(shape: Shape) -> dict[str, tuple[int, ...]]:
    """Every weight by its name."""
    wide, width = 4 * shape.width, shape.width
    layer = {
        "norm1.gamma": (width,),
        "norm1.beta": (width,),
        "attention.qkv": (width, 3 * width),
        "attention.qkv_bias": (3 * width,),
        "attention.out": (width, width),
        "attention.out_bias": (width,),
        "norm2.gamma": (width,),
        "norm2.beta": (width,),
        "feed.up": (width, wide),
        "feed.up_bias": (wide,),
        "feed.down": (wide, width),
        "feed.down_bias": (width,),
    }
    found = {f"h.{i}.{name}": s for i in range(shape.layers) for name, s in layer.items()}
    ends = {
        "wte": (shape.vocabulary, width),
        "wpe": (shape.cache, width),
        "norm.gamma": (width,),
        "norm.beta": (width,),
        "head": (width, shape.vocabulary),
    }
    return found | ends


def step(p: Params, caches: list[Any], ids: Any, position: Any, shape: Shape) -> Any:
    """Logits [batch, vocabulary] of the last of `tokens` new ones, and the caches with their keys
    and values written. ids [batch, tokens]; position, of the first new token, a number (int32);
    the cache of a layer is keys and values, each [batch, heads, cache, head width], of which
    `position` are written."""
    rows = position + jnp.arange(shape.tokens)
    x = jnp.take(p["wte"], ids, axis=0, mode="clip")
    x = x + jnp.take(p["wpe"], rows, axis=0, mode="clip")
    updated = []
    for i, cache in enumerate(caches):
        with jax.named_scope(f"h.{i}"):
            x, cache = _layer({k: p[f"h.{i}.{k}"] for k in _LAYER}, x, cache, position, shape)
        updated.append(cache)
    x = _norm(x[:, -1], p["norm.gamma"], p["norm.beta"])
    return x @ p["head"], updated


_LAYER = tuple(n.removeprefix("h.0.") for n in weight_shapes(Shape(layers=1)) if n[:4] == "h.0.")


def _layer(p: Params, x: Any, cache: Any, position: Any, shape: Shape) -> Any:
    mixed, cache = _attention(
        p, _norm(x, p["norm1.gamma"], p["norm1.beta"]), cache, position, shape
    )
    x = x + mixed @ p["attention.out"] + p["attention.out_bias"]
    hidden = _norm(x, p["norm2.gamma"], p["norm2.beta"]) @ p["feed.up"] + p["feed.up_bias"]
    hidden = jax.nn.gelu(hidden, approximate=True)
    return x + hidden @ p["feed.down"] + p["feed.down_bias"], cache


def _attention(p: Params, x: Any, cache: Any, position: Any, shape: Shape) -> Any:
    fused = x @ p["attention.qkv"] + p["attention.qkv_bias"]
    parts = jnp.split(fused, 3, axis=-1)
    split = (*x.shape[:2], shape.heads, shape.head_width)
    query, key, value = (part.reshape(split).transpose(0, 2, 1, 3) for part in parts)
    keys, values = (
        jax.lax.dynamic_update_slice(old, new, (0, 0, position, 0))
        for old, new in zip(cache, (key, value), strict=True)
    )
    scores = jnp.einsum("bhtd,bhsd->bhts", query, keys) * _DTYPE(shape.head_width**-0.5)
    last_seen = position + jnp.arange(shape.tokens)
    is_seen = jnp.arange(shape.cache) <= last_seen[:, None]
    shares = jax.nn.softmax(jnp.where(is_seen, scores, _DTYPE(-1e30)), axis=-1)
    mixed = jnp.einsum("bhts,bhsd->bhtd", shares, values)
    return mixed.transpose(0, 2, 1, 3).reshape(x.shape), (keys, values)


def _norm(x: Any, gamma: Any, beta: Any) -> Any:
    wide = x.astype(jnp.float32)
    centred = wide - wide.mean(-1, keepdims=True)
    normal = centred * jax.lax.rsqrt((centred**2).mean(-1, keepdims=True) + _EPSILON)
    return normal.astype(x.dtype) * gamma + beta


def imported(shape: Shape) -> ImportedProgram:
    """The step for one core, its weights without data; the caches are donated, so that rows are
    written where they lie."""
    kinds = {n: jax.ShapeDtypeStruct(s, _DTYPE) for n, s in weight_shapes(shape).items()}
    held = (shape.batch, shape.heads, shape.cache, shape.head_width)
    caches = [(jax.ShapeDtypeStruct(held, _DTYPE),) * 2] * shape.layers
    ids = jax.ShapeDtypeStruct((shape.batch, shape.tokens), jnp.int32)
    position = jax.ShapeDtypeStruct((), jnp.int32)
    lowered = jax.jit(lambda p, c, i, at: step(p, c, i, at, shape), donate_argnums=1).lower(
        kinds, caches, ids, position
    )
    return without_data(import_program(lowered), prefix="p.")


def without_data(program: ImportedProgram, *, prefix: str) -> ImportedProgram:
    """Arguments whose names begin with `prefix` become weights of which there are no bytes."""
    arguments = tuple(
        replace(a, weight=WeightRef.absent(a.shape, a.dtype, name=a.name))
        if a.name.startswith(prefix)
        else a
        for a in program.arguments
    )
    return replace(program, arguments=arguments)


def report(executable: axonc.Executable, shape: Shape) -> str:
    """Memory and modelled time of each core, and what bounds it."""
    found = facts(executable, executable.profile())
    seconds = found["modelled_seconds"]
    tokens = shape.batch * shape.tokens
    bounds = ", ".join(f"{k} {v * 1e3:.2f}" for k, v in found["bound_seconds"].items())
    return "\n".join(
        [
            f"{shape.layers} layers, width {shape.width}, {shape.parameters / 1e9:.1f} billion "
            f"parameters, on {executable.compiled.cores} cores",
            f"device memory   {found['device_memory_bytes'] / 2**30:8.2f} GiB per core: "
            + ", ".join(_memory(executable.compiled.program)),
            f"SBUF peak       {found['sbuf_peak_bytes'] / 1024:8.1f} KiB per partition",
            f"modelled time   {seconds * 1e3:8.2f} ms for {tokens} tokens a call, "
            f"{seconds / tokens * 1e3:.2f} ms per token",
            f"bounds, ms      {bounds}",
            f"instructions    {sum(found['instructions'].values()):8,d} per core",
        ]
    )


def _memory(program: Program) -> list[str]:
    """Device memory by purpose; state that is updated where it lies takes no more."""
    purposes = {TensorKind.WEIGHT: "weights", TensorKind.INPUT: "inputs and caches"}
    kept: Counter[str] = Counter()
    for tensor in program.tensors:
        if not tensor.alias:
            kept[purposes.get(tensor.kind, "results and scratch")] += tensor.size_bytes
    updated = sum(bool(tensor.alias) for tensor in program.tensors)
    return [f"{n / 2**30:.2f} {name}" for name, n in kept.items()] + [f"{updated} in place"]


def main(arguments: list[str] | None = None) -> None:
    """Command line: compile and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cores", type=int, default=24)
    for name in ("layers", "width", "heads", "vocabulary", "cache", "tokens", "batch"):
        parser.add_argument(f"--{name}", type=int, default=getattr(Shape(), name))
    parser.add_argument("--output", help="also write the program file")
    options = parser.parse_args(arguments)
    shape = Shape(**{f: getattr(options, f) for f in Shape.__dataclass_fields__})
    start = time.perf_counter()
    parallel = "tensor" if options.cores > 1 else "none"
    executable = axonc.compile(imported(shape), cores=options.cores, parallel=parallel)
    print(report(executable, shape))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"compiled in     {time.perf_counter() - start:8.1f} s, {peak:.2f} GiB of memory")
    if options.output:
        executable.save(options.output)


if __name__ == "__main__":
    main()
