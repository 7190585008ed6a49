"""The version of the package, which program files name as their producer."""

__version__ = "0.1.0"
