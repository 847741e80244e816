"""Ctrl-C and SIGTERM: once asks for an end in order, twice ends at once."""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(KeyboardInterrupt):
    """A run was asked to end, and did so in order.

    Attributes:
        signal: the number of the signal that asked.
    """

    def __init__(self, message: str, number: int) -> None:
        super().__init__(message)
        self.signal = number


class Interruption:
    """Whether an end was asked for, and by which signal."""

    signal: int | None = None


@contextlib.contextmanager
def interruptible(stop: Callable[[], None] = lambda: None) -> Iterator[Interruption]:
    """Let the first SIGINT or SIGTERM be noted and call `stop` instead of raising; the second raises KeyboardInterrupt.

    Signals that are ignored stay so (`nohup`). Outside the main thread, where handlers cannot be set, nothing changes.
    """
    seen = Interruption()

    def handle(number: int, frame: FrameType | None) -> None:
        if seen.signal is not None:
            raise KeyboardInterrupt
        seen.signal = number
        stop()

    if threading.current_thread() is not threading.main_thread():
        yield seen
        return
    before = {number: signal.getsignal(number) for number in SIGNALS}
    for number, handler in before.items():
        if handler not in (signal.SIG_IGN, None):
            signal.signal(number, handle)
    try:
        yield seen
    finally:
        for number, handler in before.items():
            if handler is not None:
                signal.signal(number, handler)
