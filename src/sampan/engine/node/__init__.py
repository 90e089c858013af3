"""The engine on this machine: containerd keeps the images, runc runs the sandboxes."""
