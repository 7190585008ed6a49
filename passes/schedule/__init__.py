"""Which engine runs an instruction, and in what order."""
