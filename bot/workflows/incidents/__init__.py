"""Workflows of incidents: channel, messages, pages, snapshots, reminders."""
