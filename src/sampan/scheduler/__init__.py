"""What runs, and who may use it."""
