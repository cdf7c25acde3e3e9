"""Slack: Web API, files, views, Socket Mode, and what people do in it."""
