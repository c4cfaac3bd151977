"""Makes models: data, networks, objectives, families, the one training loop, evaluation, export."""
