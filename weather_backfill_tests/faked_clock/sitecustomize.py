"""Python imports this by itself in the processes that live on a faked clock.

libfaketime up to 0.9.10 answers EINVAL to the call that `time.sleep` makes since Python 3.11 (clock_nanosleep until
a monotonic time) when the monotonic clock is left alone. Waiting for an event takes another call.
"""

import threading
import time

time.sleep = lambda seconds: threading.Event().wait(seconds) and None  # type: ignore[assignment]
