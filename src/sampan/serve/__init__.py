"""The front door: settings in, rooms wired, a file per role."""
