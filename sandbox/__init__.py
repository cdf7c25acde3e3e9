"""The world that the bot is tried in: one loopback server that speaks the protocols of its integrations."""
