"""crdbmesh: one secure, multi-region CockroachDB on k3s and Cilium Cluster Mesh in Azure."""

__version__ = "0.1.0"
