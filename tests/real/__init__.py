"""The real counterparts of the sandbox, as plain processes: found on PATH, on a free port, in a temporary folder."""
