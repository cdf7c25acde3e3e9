"""A run of a runbook: start, play, approval, undo, presentation."""
