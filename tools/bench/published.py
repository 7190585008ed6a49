"""The rows of the model table, with the published latencies they are shown beside.

Published figures are single-core p50 latencies of neuronx-cc programs, FP32 models with
`--auto-cast matmult` in bf16, runtime and framework included (machine.md#encoders). Those of Inf1
are of NeuronCore-v1, which is no target here.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """One row of the table of models."""

    model: str
    """A name of the zoo."""
    batch: int = 1
    target: str = "inf2"
    published_ms: float | None = None
    """None where none was published."""
    source: str = ""
    """Section of machine.md."""
    derived: bool = False
    """The figure is computed from throughput, as the section explains."""
    layers: int | None = None
    """None for all of them."""

    @property
    def name(self) -> str:
        """`bert-base`, `bert-base-b8`, `bert-base-b16-trn1`, `llama-decode-1l`."""
        layers = f"-{self.layers}l" if self.layers else ""
        batch = f"-b{self.batch}" if self.batch > 1 else ""
        target = f"-{self.target}" if self.target != "inf2" else ""
        return self.model + layers + batch + target

    @property
    def is_run(self) -> bool:
        """Whether the host runs the program too; on the other target it would do the same."""
        return self.target == "inf2"


ROWS: tuple[Row, ...] = (
    Row("minilm"),
    Row("distilbert", 1, "inf2", 0.579, "encoders"),
    Row("distilbert", 16, "inf2", 6.011, "encoders"),
    Row("distilbert", 1, "trn1", 0.543, "encoders"),
    Row("distilbert", 16, "trn1", 5.010, "encoders"),
    Row("albert-base", 1, "inf2", 0.937, "encoders"),
    Row("albert-base", 8, "inf2", 5.068, "encoders"),
    Row("albert-base", 1, "trn1", 0.860, "encoders"),
    Row("albert-base", 16, "trn1", 9.289, "encoders"),
    Row("bert-base", 1, "inf2", 0.999, "encoders"),
    Row("bert-base", 8, "inf2", 5.974, "encoders"),
    Row("bert-base", 1, "trn1", 0.943, "encoders"),
    Row("bert-base", 16, "trn1", 9.345, "encoders"),
    Row("bert-large", 1, "inf2", 2.694, "encoders"),
    Row("bert-large", 4, "inf2", 8.411, "encoders"),
    Row("bert-large", 1, "trn1", 2.669, "encoders"),
    Row("bert-large", 4, "trn1", 7.241, "encoders"),
    Row("bert-large", 10),
    Row("electra-large"),
    Row("resnet-50", 1, "inf2", 0.83, "vision"),
    Row("resnet-50", 8, "inf2", 3.64, "vision", derived=True),
    Row("gpt2-prefill"),
    Row("gpt2-decode"),
    Row("llama-prefill", layers=1),
    Row("llama-decode", layers=1),
    Row("unet"),
)
