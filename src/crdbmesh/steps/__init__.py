"""Everything that must hold for a mesh to stand; start at `catalog`."""
