"""A Kubernetes API server: objects, watches, and commands in pods."""
