"""AWS: moto's RDS and S3 with TAMV's databases and backups, and the intermediate states that moto leaves out.

The account's constants are here because backend.py imports moto, which only tests have.
"""

REGION = "us-east-1"
ACCOUNT = "123456789012"
KEY_ID, SECRET_KEY = "AKIASANDBOX000000000", "sandbox-secret-key-of-the-bot"
