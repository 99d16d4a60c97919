"""The kubelets: pods on nodes, from mounts to probes to their end."""
