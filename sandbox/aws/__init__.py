"""AWS: moto's, with TAMV's databases and backups in it, and with the states in between that moto leaves out."""
