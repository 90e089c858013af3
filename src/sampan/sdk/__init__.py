"""What users import: knows the wire, not the platform."""
