"""Decoded instructions, and what can be wrong with one."""
