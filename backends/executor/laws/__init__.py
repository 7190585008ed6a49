"""Checked mode: what a program must not do."""
