"""Actions: everything a run can do outside the bot. No client library, no Slack, no template; they return facts."""
