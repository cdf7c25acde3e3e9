"""What an incident is and what may happen to it: plain values, no I/O, no clock, no Slack."""
