"""The demo: the sandbox and a bot on one port, and a scripted incident."""
