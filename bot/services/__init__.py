"""Services: everything that a person, an alert or a webhook can request, and the rules of who may."""
