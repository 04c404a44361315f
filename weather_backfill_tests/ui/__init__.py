"""The platform as a person uses it: a real browser before the real webserver and daemon."""
