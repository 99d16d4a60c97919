"""The cockroach binary: as a node of a cluster, and as a client."""
