"""What exists, its rules and its rows."""
