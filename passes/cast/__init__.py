"""Which types values are computed and stored in, what that costs, and the derived weights."""
