"""The batching engine: queues, lanes and runtimes. Knows neither HTTP nor images."""
