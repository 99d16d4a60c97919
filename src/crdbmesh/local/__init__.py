"""The operator's disk: the mesh's local folder, its secrets and keys, kubeconfigs."""
