"""What people see of a run, here or from afar. Nothing in this folder imports torch."""
