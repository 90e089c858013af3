"""Back-ends of others, for real: built once from their sources by Go, kept in a cache."""
