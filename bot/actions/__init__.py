"""What may be done in the world: no client library, no Slack, no template; facts come back."""
