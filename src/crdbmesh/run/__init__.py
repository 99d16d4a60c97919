"""How one run reaches the world, and the lease that keeps it the only one."""
