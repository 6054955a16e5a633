"""Training speed and peak memory for the log."""
import sys
import time
from collections import OrderedDict
from contextlib import contextmanager


class SpeedMeter:
    """Images per second and the share of the time that training waits for data; pauses (validation) do not count."""

    def __init__(self):
        self.pausing = False
        self.mark = self.start = time.perf_counter()
        self.images, self.waited = 0, 0.

    def data_came(self):
        """Record that a batch has arrived. All time since the last step was spent waiting for it."""
        if not self.pausing:
            self.waited += time.perf_counter() - self.mark

    def step_done(self, images):
        """Record a step on this many images."""
        self.images += images
        self.mark = time.perf_counter()

    @contextmanager
    def pause(self):
        """Context whose time does not count."""
        begin, before, self.pausing = time.perf_counter(), self.pausing, True
        try:
            yield
        finally:
            self.pausing = before
            if not before:
                self.mark = time.perf_counter()
                self.start += self.mark - begin

    def read(self):
        """Figures since the last reading.

        Returns:
            OrderedDict: ``img_s`` (images per second) and ``data_wait`` (0 to 1).
        """
        elapsed = max(time.perf_counter() - self.start, 1e-9)
        figures = OrderedDict(img_s=self.images / elapsed, data_wait=min(self.waited / elapsed, 1.))
        self.images, self.waited, self.start = 0, 0., time.perf_counter()
        return figures


def peak_memory(device):
    """Peak memory of this process in bytes: tensors on a GPU, resident set size on a CPU; NaN on Windows."""
    if device.type == 'cuda':
        import torch
        return torch.cuda.max_memory_allocated(device)
    try:
        import resource
    except ImportError:  # Windows
        return float('nan')
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == 'darwin' else peak * 1024
