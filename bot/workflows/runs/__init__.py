"""Workflows of runbook runs: start, play, approval, undo, presentation."""
