"""The demo: the sandbox and a bot on one port, and the story of an incident."""
