"""What the user wants: the spec, its address plan, names and versions; no I/O."""
