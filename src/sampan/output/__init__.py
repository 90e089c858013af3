"""What functions print: kept compressed, found again by time, request and text."""
