"""The FC 3.0 control plane, one file per resource."""
