"""What must come about although processes die: durable workflows. The only imports of dbos."""
