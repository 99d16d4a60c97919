"""CoreDNS: Corefile, plugins, and the answers it gives."""
