"""The engine on this machine: containerd keeps the images, runc runs the sandboxes.

A call enters at `node.NodeEngine`, or `images.NodeImages` for images.
"""
