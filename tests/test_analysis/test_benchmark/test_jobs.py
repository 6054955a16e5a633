import math
import pytest
import torch
from dataclasses import replace
from pathlib import Path

from memnet_basicsr.analysis.benchmark.jobs import CONVOLUTIONS, Job, executed_convolutions, prepare

REFERENCE = str(Path(__file__).resolve().parents[2] / 'reference')
CONV_JOB = Job('memnet', 'infer', CONVOLUTIONS, 'fp32', (1, 1, 321, 481), REFERENCE)


def multiplications(calls):
    """Of convolutions with stride 1 that keep the size of their input."""
    return sum(math.prod(x) // x[1] * math.prod(weight) for x, weight, *_ in calls)


def test_convolutions_of_memnet():
    """M blocks of 2R convolutions, a gate each over R + m sources, one at the start and one per output."""
    blocks, recursions, feat = 6, 6, 64
    calls = executed_convolutions(CONV_JOB)
    assert len(calls) == 1 + blocks * (2 * recursions + 1) + blocks
    gates = sum(recursions + m for m in range(1, blocks + 1))
    per_pixel = 9 * feat + blocks * 2 * recursions * 9 * feat**2 + gates * feat**2 + blocks * 9 * feat
    assert multiplications(calls) == per_pixel * 321 * 481
    training = executed_convolutions(replace(CONV_JOB, task='train', shape=(2, 1, 9, 9)))
    assert all(v[3] for v in training) and len(training) == len(calls)  # the first one reads a BatchNorm


def test_convolutions_of_memorynet():
    """141 GMACs at 256x256, as published."""
    job = replace(CONV_JOB, network='memorynet', shape=(1, 3, 256, 256))
    assert round(multiplications(executed_convolutions(job)) / 1e9) == 141
    training = executed_convolutions(replace(job, task='train', shape=(1, 3, 16, 16)))
    # Only convolutions that read the image need no gradient of their input.
    assert {v[0][1] for v in training if not v[3]} == {3}


@pytest.mark.parametrize('task', ['infer', 'train'])
def test_convolutions_run_in_the_order_of_the_network(task):
    job = replace(CONV_JOB, network='memorynet', task=task, shape=(1, 3, 16, 16), narrow=True)
    run, shapes = prepare(job), []

    class Log(torch.overrides.TorchFunctionMode):

        def __torch_function__(self, func, types, args=(), kwargs=None):
            if func is torch.nn.functional.conv2d:
                shapes.append((args[0].shape, args[1].shape))
                assert args[0].shape[1] == 1 or args[0].is_contiguous(memory_format=torch.channels_last)
            return func(*args, **(kwargs or {}))

    with Log():
        run()
    assert shapes == [v[:2] for v in executed_convolutions(job)] and len(shapes) > 50
