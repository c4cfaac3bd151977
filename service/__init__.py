"""The REST service: HTTP, batching engine, runtimes, images. Never imports torch, but for the TorchScript runtime."""
