"""What images go out as: negotiation by `Accept`, and one module per kind of file."""
