"""A simulated Azure with machines, k3s, Cilium and CockroachDB: ARM, SSH and Kubernetes doors on loopback."""

__version__ = "0.1.0"
