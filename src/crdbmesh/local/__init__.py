"""The operator's disk: the mesh's local folder, with its secrets and keys, and kubeconfigs."""
