"""What a program is before our dialects: one StableHLO module with its arguments."""
