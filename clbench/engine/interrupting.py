"""Ctrl-C and SIGTERM: the first asks for a clean end, the second ends at once."""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(KeyboardInterrupt):
    """A run was asked to end, and has saved its checkpoints.

    Attributes:
        signal: number of the signal.
    """

    def __init__(self, message: str, number: int) -> None:
        super().__init__(message)
        self.signal = number


class Interruption:
    """The signal that asked for an end, if any."""

    signal: int | None = None


@contextlib.contextmanager
def interruptible(stop: Callable[[], None] = lambda: None) -> Iterator[Interruption]:
    """Let the first SIGINT or SIGTERM call `stop` instead of raising; the second raises KeyboardInterrupt.

    Ignored signals stay ignored (`nohup`). Outside the main thread, where handlers cannot be set, nothing changes.
    """
    interruption = Interruption()

    def handle(number: int, frame: FrameType | None) -> None:
        if interruption.signal is not None:
            raise KeyboardInterrupt
        interruption.signal = number
        stop()

    if threading.current_thread() is not threading.main_thread():
        yield interruption
        return
    before = {number: signal.getsignal(number) for number in SIGNALS}
    for number, handler in before.items():
        if handler not in (signal.SIG_IGN, None):
            signal.signal(number, handle)
    try:
        yield interruption
    finally:
        for number, handler in before.items():
            if handler is not None:
                signal.signal(number, handler)
