"""Alerts: conditions derived from what is, incidents told once to each channel, their ends told once.

`conditions` says what is wrong now, `incidents` remembers in the lake what was told to whom, `channels` tell,
`reconcile` brings them together; the sensor `alerts` calls it at every tick.
"""
