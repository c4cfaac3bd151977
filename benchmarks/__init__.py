"""The service against the bare runtime under it, on this machine, in one run."""
