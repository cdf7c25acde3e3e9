"""PagerDuty as its clients see it: Events API v2, REST API v2 and the V3 webhooks that it sends."""
