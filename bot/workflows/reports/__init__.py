"""What is written after an incident: the report and the follow-ups."""
