"""A Prometheus of the sandbox: samples in memory, PromQL, alerting rules, and the HTTP API version 1."""
