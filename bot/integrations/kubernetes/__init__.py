"""Kubernetes by its official client (kubernetes.aio): one module per kind of resource."""
