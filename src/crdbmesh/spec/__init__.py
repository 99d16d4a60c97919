"""The spec, which says the mesh that the user wants: its address plan, names and versions; no I/O."""
