"""The web console: a page that looks and feels like Slack, for people who try the product without an account."""
