"""What was used: counted, kept, summed."""
