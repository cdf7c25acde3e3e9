"""Durable workflows: everything that must happen even if a process dies. The engine in it is the only user of dbos."""
