"""Alerts: conditions derived from the present state, incidents reported once to each channel, and so are their ends.

`conditions` finds what is wrong now, `incidents` records in the lake which channel was notified of what, `channels`
send messages, `reconcile` brings them together; the sensor `alerts` calls it at every tick.
"""
