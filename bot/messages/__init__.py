"""How things look in Slack and on paper: words from templates, structure from slack_sdk.models."""
