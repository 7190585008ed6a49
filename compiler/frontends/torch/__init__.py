"""From torch.export to StableHLO."""
