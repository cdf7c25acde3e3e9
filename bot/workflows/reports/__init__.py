"""Workflows after an incident: report and follow-ups."""
