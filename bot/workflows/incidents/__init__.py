"""What an incident sets off: channel, messages, pages, snapshots, reminders."""
