"""Which dimensions of a tensor are rows, the partitions of SBUF."""
