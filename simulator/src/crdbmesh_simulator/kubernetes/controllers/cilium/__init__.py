"""Cilium as Kubernetes sees it: the objects of its chart, and what its operator and agents do through the API."""
