"""What a person, an alert or a webhook may ask of the bot."""
