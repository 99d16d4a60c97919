"""Checks before the first write: everything foreseeable, reported at once. The list is in `catalog`."""
