"""The service against other servers and the bare runtime, on this machine, in one run; under overload; for long."""
