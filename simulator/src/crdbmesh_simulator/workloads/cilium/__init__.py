"""Cilium's programs: agent, operator, envoy, and the clustermesh-apiserver with kvstoremesh."""
