"""What runs inside pods: Cilium, clustermesh-apiserver, CoreDNS, CockroachDB, shells."""
