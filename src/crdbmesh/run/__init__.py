"""One run's way to Azure, machines and clusters, and the lease that keeps it the only one."""
