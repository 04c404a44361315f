"""ACE IoT: building sensors behind a paginated, rate-limited API.

`connection.py` is what a tenant configures, `api.py` the calls on the wire, `decode.py` a page's bytes as
columns, `walk.py` the cursor walk over one window, `day.py` windows to a day, `budget.py` what a range costs,
and `source.py` puts them together.
"""
