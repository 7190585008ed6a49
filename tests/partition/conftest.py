"""The fixtures of imported programs."""

from imported_programs import census, located, run

__all__ = ["census", "located", "run"]
