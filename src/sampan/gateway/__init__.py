"""The data plane: bytes in, function out."""
