"""What was used: counted once, summed exactly, priced."""
