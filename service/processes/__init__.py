"""The processes of the service: one that serves, or a parent with workers; how they listen, stop and end."""
