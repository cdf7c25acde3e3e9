"""Everything that reaches the bot from outside: Slack, webhooks, probes."""
