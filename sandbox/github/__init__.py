"""GitHub as its clients see it: the REST API of one repository and the webhooks that it sends."""
