import json
import os
from datetime import timedelta
from torch import distributed

FOREVER = timedelta(days=365)


class Ranks:
    """Processes of ``torchrun`` that share work: each takes the next item. Without torchrun, the only process."""

    def __init__(self):
        launched = 'RANK' in os.environ and 'MASTER_ADDR' in os.environ
        self.rank, self.size = (int(os.environ[v]) for v in ('RANK', 'WORLD_SIZE')) if launched else (0, 1)
        self.store = next(distributed.rendezvous('env://'))[0] if self.size > 1 else None
        self._done = 0

    def take(self, items):
        """Yield the items that this process takes."""
        if self.store is None:
            yield from items
            return
        while (index := self.store.add('next', 1) - 1) < len(items):
            yield items[index]

    def done(self):
        """Count an item as done; return the number of all processes."""
        self._done = self._done + 1 if self.store is None else self.store.add('done', 1)
        return self._done

    def gather(self, value):
        """Wait for all processes; return their values, which JSON can hold, by rank."""
        if self.store is None:
            return [value]
        self.store.set(f'value{self.rank}', json.dumps(value))
        keys = [f'value{rank}' for rank in range(self.size)]
        self.store.wait(keys, FOREVER)
        values = [json.loads(self.store.get(key)) for key in keys]
        self.store.set(f'left{self.rank}', '')
        if self.rank == 0:  # its process may hold the store
            self.store.wait([f'left{rank}' for rank in range(self.size)], FOREVER)
        return values
