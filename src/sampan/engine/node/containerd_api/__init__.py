"""Generated from proto/containerd; do not edit."""
