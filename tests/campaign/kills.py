"""Programs that are killed at random moments; the next run makes up for it."""
import contextlib
import os
import shutil
import signal
import time
from functools import partial

from memnet_basicsr.data.lmdb_util import close_lmdb, lmdb_images
from tests.campaign.faults import CREATE_LMDB, RESTORE, RESUME
from tests.test_engine.tiny_runs import assert_same_run, options, write_options

SIGNALS = (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
VARIANTS = {
    'plain': {},
    'workers': {'datasets__train__num_worker_per_gpu': 2},
}  # yapf: disable


def faults(campaign):
    draw = campaign.generator('kills')
    for _ in range(60 if campaign.is_long else 2):
        variant, number = draw.choice(list(VARIANTS)), draw.choice(SIGNALS)
        moments = [draw.random() for _ in range(draw.choice((1, 1, 1, 3)))]
        text = ', '.join(f'{v:.0%}' for v in moments)
        yield f'training ({variant}), {number.name} at {text} of its time', partial(training, variant, number, moments)
    for i in range(12 if campaign.is_long else 0):
        variant = 'plain' if i else 'workers'  # BasicSR starts workers of several processes anew, which takes long
        victims, number, moment = draw.choice(((0, ), (1, ), (0, 1))), draw.choice(SIGNALS), draw.random()
        yield (f'training of two processes ({variant}), {number.name} for {len(victims)} at {moment:.0%} of its time',
               partial(two_processes, variant, victims, number, moment))  # yapf: disable
    for _ in range(10 if campaign.is_long else 1):
        moment = draw.random()
        yield f'memnet-restore, SIGKILL at {moment:.0%} of its time', partial(restoring, moment)
        yield f'create_lmdb, SIGKILL at {moment:.0%} of its time', partial(lmdb, moment)


def training(variant, number, moments, campaign, folder):
    """Ends with the bits of the run that was never stopped."""
    whole, duration = campaign.whole(variant, **VARIANTS[variant])
    write_options(folder, options(**VARIANTS[variant]))
    for moment in moments:
        campaign.kill(folder, moment * duration, *RESUME, number=number)
    campaign.run(folder, *RESUME, log='resumed').check((0, ))
    assert_same_run(whole, folder, 18)


def two_processes(variant, victims, number, moment, campaign, folder):
    """As torchrun does, the other process is told to end when one was killed. Ends with the bits of a whole run."""
    whole, duration = campaign.whole(variant, 2, **VARIANTS[variant])
    write_options(folder, options(**VARIANTS[variant]))
    pids = campaign.start_two(folder)
    time.sleep(moment * duration)
    for rank, pid in enumerate(pids):
        with contextlib.suppress(ProcessLookupError):
            if rank in victims:
                os.killpg(pid, number)
            elif number == signal.SIGKILL:
                os.killpg(pid, signal.SIGTERM)
    for pid in pids:
        if campaign.server.wait(pid, 30) is None:  # torchrun's patience
            os.killpg(pid, signal.SIGKILL)
            campaign.server.wait(pid)
    campaign.run_two(folder, 'resumed')
    assert_same_run(whole, folder, 18)


def restoring(moment, campaign, folder):
    """The next run restores the rest and removes temporary files."""
    images = campaign.many(150)
    shutil.copytree(images, folder / 'in')
    args = ('-i', 'in', '-o', 'out', '--weights', campaign.weights, '--device', 'cpu')
    campaign.kill(folder, 1.5 * moment, *args, script=RESTORE)
    for path in (folder / 'out').glob('.*') if (folder / 'out').exists() else ():
        os.utime(path, (0, 0))  # killed long ago
    (folder / 'out').mkdir(exist_ok=True)
    (folder / 'out' / '.000.png01234567.part').touch()
    os.utime(folder / 'out' / '.000.png01234567.part', (0, 0))
    campaign.restore(folder, '-i', 'in', '-o', 'out', log='again').check((0, ))
    names = sorted(os.listdir(images))
    assert sorted(os.listdir(folder / 'out')) == names
    campaign.restore(folder, '-i', 'in', '-o', 'whole', log='whole.log').check((0, ))
    for name in names:
        assert (folder / 'out' / name).read_bytes() == (folder / 'whole' / name).read_bytes(), name


def lmdb(moment, campaign, folder):
    """There is a whole LMDB or none; the next run writes it and removes what was left."""
    args = ('--input', campaign.many(150), '--set', 'a', '--split', 'train', '--gray')
    campaign.kill(folder, 0.7 * moment, *args, script=CREATE_LMDB)
    path = folder / 'datasets' / 'a' / 'train_gray.lmdb'
    if path.exists():
        assert len(lmdb_images(str(path))) == 150
        close_lmdb(str(path))
    campaign.run(folder, *args, script=CREATE_LMDB, log='again').check((0, ))
    assert os.listdir(path.parent) == [path.name] and len(lmdb_images(str(path))) == 150
    close_lmdb(str(path))
