"""Several worker processes that behave as one: what each says of itself, and how they wake one another."""
