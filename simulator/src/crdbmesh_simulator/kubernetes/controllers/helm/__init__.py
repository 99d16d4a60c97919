"""k3s's helm-controller, the jobs it starts, and the charts they install."""
