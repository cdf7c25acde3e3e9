"""An Alertmanager of the sandbox: groups alerts, silences them, calls the bot's webhook, and has the API version 2."""
