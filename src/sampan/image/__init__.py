"""OCI names, registries and image configs."""
