"""Causes of incidents, one function a cause: what it predicts, and what refutes it."""
