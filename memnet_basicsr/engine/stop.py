"""SIGTERM and Ctrl-C: a run saves before it leaves, also when a scheduler signals all of its processes."""
import signal
import threading
import torch


class StopAsked(Exception):
    """A validation was left because the run is asked to stop; the signal is its argument."""


class StopRequest:
    """Remembers SIGTERM and Ctrl-C, so that the run can save before it leaves; a second Ctrl-C ends it at once."""

    def __init__(self):
        self.signal = 0
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, self._note)

    def _note(self, number, frame):
        if self.signal and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.signal = int(number)

    def agreed(self, device, distributed):
        """The signal that some process has received, 0 for none; all processes must ask together."""
        if not distributed:
            return self.signal
        flag = torch.tensor(self.signal, device=device)
        torch.distributed.all_reduce(flag, torch.distributed.ReduceOp.MAX)
        return int(flag)


def leave_signals_to_parent(worker_id):
    """Start a loader's worker: a signal to all processes of a run must not take the data from a run that is saving."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
