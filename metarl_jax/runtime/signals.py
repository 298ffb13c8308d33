"""Stop signals: the first is noted, so that work can be saved; a second acts at once."""

import signal
import threading
from typing import Any


class StopSignals:
    """While open, the first SIGINT or SIGTERM is noted in ``received``; a second one acts at once."""

    def __enter__(self) -> "StopSignals":
        self.received: int | None = None
        self._previous: dict[int, Any] = {}
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._previous[number] = signal.signal(number, self._note)
        return self

    def _note(self, number: int, frame: Any) -> None:
        self.received = number
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def __exit__(self, *_: object) -> None:
        self._restore()
