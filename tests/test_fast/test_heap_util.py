import os
import platform
import pytest
import subprocess
import sys

CHURN = """
import resource, torch
from memnet_basicsr.fast.heap_util import keep_freed_memory
{first}
def churn():
    for _ in range(20):
        features = [torch.zeros(1 << 20) for _ in range(3)]  # 4 MiB each, all freed before the next ones
        del features
churn()
before = resource.getrusage(resource.RUSAGE_SELF)
churn()
after = resource.getrusage(resource.RUSAGE_SELF)
print(after.ru_minflt - before.ru_minflt, after.ru_maxrss - before.ru_maxrss)
"""


def churn(first, **variables):
    code = CHURN.format(first=first)
    result = subprocess.run([sys.executable, '-c', code],
                            capture_output=True,
                            text=True,
                            env={
                                **os.environ,
                                **variables
                            })
    assert result.returncode == 0, result.stderr
    return [int(v) for v in result.stdout.split()]


@pytest.mark.skipif(platform.libc_ver()[0] != 'glibc', reason='concerns glibc')
def test_pages_are_asked_for_once():
    # what imports free may have raised the limit already: here it is fixed where glibc starts
    faults, _ = churn('pass', MALLOC_MMAP_THRESHOLD_='131072')
    kept_faults, kept_growth = churn('keep_freed_memory()')
    assert faults > 10000 and kept_faults < faults / 20
    assert kept_growth < 16 << 10  # KiB: what is kept is used again, the block that is freed first never counts
