"""The programs inside pods: Cilium, clustermesh-apiserver, CoreDNS, CockroachDB, shells."""
