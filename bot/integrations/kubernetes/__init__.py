"""Kubernetes by its official client (kubernetes.aio): one file for each kind of thing."""
