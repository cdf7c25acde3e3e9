"""The only imports of client libraries, one file a service. Errors leave here as Unavailable or Refused."""
