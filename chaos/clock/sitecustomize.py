"""Steps the clock of a Python process, a second after it starts: a day ahead, or a day back, by its pid.

Python imports this by its name when the folder is on PYTHONPATH. The monotonic clock stays, as it does when
an administrator or NTP steps the real one.
"""

import datetime
import os
import time

_STEP = 86_400 if os.getpid() % 2 else -86_400
_real, _began = time.time, time.monotonic()


def _stepped():
    return _real() + (_STEP if time.monotonic() - _began > 1 else 0)


class _Stepped(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return cls.fromtimestamp(_stepped(), tz)


time.time = _stepped
datetime.datetime = _Stepped
