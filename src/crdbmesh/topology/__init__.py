"""What a mesh is: pure values, no I/O."""
