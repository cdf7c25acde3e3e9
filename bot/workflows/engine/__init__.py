"""The engine of durable workflows: DBOS, leases and takeover, outbox dispatch, cleanup."""
