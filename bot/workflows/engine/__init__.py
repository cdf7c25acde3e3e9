"""The engine of durable workflows: DBOS, leader election, outbox dispatch, cleanup."""
