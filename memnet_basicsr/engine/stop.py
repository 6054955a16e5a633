"""Save and exit on SIGTERM or Ctrl-C, also when a scheduler signals all processes of a run."""
import signal
import threading
import torch


class StopAsked(Exception):
    """Raised when a stop request aborts a validation; its argument is the signal number."""


class StopRequest:
    """Records SIGTERM and Ctrl-C, so that the run can save and exit; a second Ctrl-C raises KeyboardInterrupt."""

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
        """Return a signal that any rank has received, 0 for none. Collective: all ranks must call it together."""
        if not distributed:
            return self.signal
        flag = torch.tensor(self.signal, device=device)
        torch.distributed.all_reduce(flag, torch.distributed.ReduceOp.MAX)
        return int(flag)


def leave_signals_to_parent(worker_id):
    """``worker_init_fn`` that ignores signals, since a run that is saving still needs its workers."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
