"""Ordered, idempotent steps and how they are run; knows nothing of Azure or Kubernetes."""
