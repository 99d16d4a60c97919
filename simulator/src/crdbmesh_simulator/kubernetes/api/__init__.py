"""HTTPS door: one Kubernetes API a cluster, and the controllers whose effects clients wait for."""
