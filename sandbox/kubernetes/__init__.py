"""A Kubernetes API server with the controllers behind it, for kubectl, helm and the official client."""
