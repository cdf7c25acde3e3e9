"""What reaches the bot from outside: Slack, webhooks, probes."""
