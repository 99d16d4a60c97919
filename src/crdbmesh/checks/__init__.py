"""What can be known before the first write: everything foreseeable, all at once. The list is in `catalog`."""
