"""An embedded world to run crdbmesh in: Azure Resource Manager, SSH hosts and Kubernetes APIs on loopback."""
