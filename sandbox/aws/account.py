"""Whose account it is, for those who need no moto."""

REGION = "us-east-1"
ACCOUNT = "123456789012"
KEY_ID, SECRET_KEY = "AKIASANDBOX000000000", "sandbox-secret-key-of-the-bot"
