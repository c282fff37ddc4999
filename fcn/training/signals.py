"""SIGTERM and Ctrl-C end a training where it can go on: after a step, with a checkpoint of it."""

import contextlib
import os
import signal
import threading
from collections.abc import Callable


class Interrupted(KeyboardInterrupt):
    """A training was ended by a signal, with a checkpoint, and can go on.

    Attributes:
      signal: by which; a process ends with the exit status 128 + signal, as if the signal had ended it.
    """

    def __init__(self, message: str, number: signal.Signals):
        super().__init__(message)
        self.signal = number


class StopSignals:
    """Notes SIGTERM and SIGINT while it is entered; called after each step it says whether to stop there.

    The first signal restores the default of SIGINT, so that a second Ctrl-C ends the process at once. Signals that are ignored
    stay so, and threads other than the main one, which get none, are never told to stop by one.

    Args:
      together: where several processes train, what makes all stop after the same step once one of them got SIGTERM, which it
        notes by itself: step -> whether it is that one.

    Attributes:
      signal: by which this process stops; None while it does not.
    """

    def __init__(self, together: Callable[[int], bool] | None = None):
        self.signal: signal.Signals | None = None
        self._noted: signal.Signals | None = None
        self._together = together
        self._former = {}

    def __enter__(self) -> "StopSignals":
        numbers = (signal.SIGINT,) if self._together else (signal.SIGINT, signal.SIGTERM)
        if threading.current_thread() is threading.main_thread():
            wanted = [number for number in numbers if signal.getsignal(number) not in (signal.SIG_IGN, None)]
            self._former = {number: signal.signal(number, self._note) for number in wanted}
        return self

    def __exit__(self, *_) -> None:
        for number, handler in self._former.items():
            signal.signal(number, handler)

    def __call__(self, step: int) -> bool:
        if self._together is None:
            self.signal = self._noted
        elif self._together(step):
            self.signal = self._noted or signal.SIGTERM
        return self.signal is not None

    def _note(self, number: int, _) -> None:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        if self._noted is None:
            self._noted = signal.Signals(number)
            with contextlib.suppress(OSError):  # the same Ctrl-C may have ended who reads it
                os.write(2, f"\n{self._noted.name}: the step is finished and kept; Ctrl-C ends at once\n".encode())
        if self._together:
            os.kill(os.getpid(), signal.SIGTERM)
