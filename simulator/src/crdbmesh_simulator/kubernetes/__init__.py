"""The simulated Kubernetes: its API, its controllers and kubelets, and what a kubelet asks of a program."""
