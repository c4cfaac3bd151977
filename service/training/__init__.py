"""What is behind the endpoints under /training. Imports no torch: a worker trains, the service writes the ledger."""
