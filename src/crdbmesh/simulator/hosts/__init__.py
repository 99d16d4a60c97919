"""SSH door: one host a machine."""
