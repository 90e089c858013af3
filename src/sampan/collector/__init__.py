"""What functions and the platform tell of themselves, taken in, kept, given out. A process of its own."""
