"""Durable workflows: DBOS, the leader lock, the outbox, what is cleaned up."""
