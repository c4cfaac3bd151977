"""The endpoints, one module each: parse, plan, run, render."""
