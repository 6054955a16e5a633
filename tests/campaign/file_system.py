"""Full disks, folders that cannot be written, and links to nowhere."""
import cv2
import numpy as np
import os
from functools import partial

from tests.campaign.faults import CREATE_LMDB, LIMITED, RESTORE, RESUME
from tests.test_engine.tiny_runs import assert_same_run, options, write_options

# arguments of memnet-restore and words of its line; `link` leads nowhere, `loop` to itself, `pipe` has no writer
RESTORE_TABLE = [
    ('-i in -o link', 'link: cannot be created as the output folder (a dangling link)'),
    ('-i in -o loop', 'loop: cannot be created as the output folder'),
    ('-i in -o loop/out', 'out: cannot be created as the output folder'),
    ('-i in -o in/a.png/out', 'out: cannot be created as the output folder'),
    ('-i in -o /proc/memnet', '/proc/memnet: cannot be created as the output folder'),
    ('-i in -o /sys/memnet', '/sys/memnet: cannot be created as the output folder'),
    ('-i in -o /dev/null', '/dev/null: cannot be created as the output folder'),
    (f'-i in -o {"x" * 300}', 'cannot be created as the output folder (File name too long)'),
    ('-i link -o out', 'link: cannot be read (No such file or directory)'),
    ('-i loop -o out', 'loop: cannot be read'),
    ('-i pipe -o out', 'pipe: is not a file'),
    ('-i /dev/zero -o out', '/dev/zero: is not a file'),
    ('-i nothing -o out', 'nothing: there is no such file or folder'),
    ('-i empty -o out', 'empty: no images found'),
    ('-i in -o out --gt link', 'link: there is no such file or folder of clean images'),
    ('-i in -o out --weights link', 'weights link: neither a file nor bundled weights'),
    ('-i in -o out --weights pipe', 'weights pipe: neither a file nor bundled weights'),
    ('-i in -o out --weights in', 'weights in: neither a file nor bundled weights'),
]


def faults(campaign):
    table = RESTORE_TABLE if campaign.is_long else RESTORE_TABLE[:3] + RESTORE_TABLE[10:11]
    for line, words in table:
        yield f'memnet-restore {line[:60]}', partial(restoring, line.split(), words)
    yield 'memnet-restore on a full disk', full_disk_restoring
    yield 'create_lmdb on a full disk', full_disk_lmdb
    for name in ('net_g_12', '12.state', 'net_g_latest')[:3 if campaign.is_long else 1]:
        yield f'disk is full when {name} is written', partial(full_disk_training, name)
    if campaign.is_long:
        for kind in ('file', 'link'):
            yield f'experiments is a {kind}', partial(no_folder, kind)


def restoring(args, words, campaign, folder):
    (folder / 'in').mkdir()
    (folder / 'empty').mkdir()
    cv2.imwrite(str(folder / 'in' / 'a.png'), np.zeros((20, 20), np.uint8))
    os.symlink('nowhere', folder / 'link')
    os.symlink('loop', folder / 'loop')
    os.mkfifo(folder / 'pipe')
    args = args if '--weights' in args else [*args, '--weights', campaign.weights]
    campaign.run(folder, *args, script=RESTORE, timeout=30).refused(words)


def full_disk_restoring(campaign, folder):
    """The images that fit are written, the others are named; nothing incomplete is left."""
    draw = np.random.RandomState(0)
    (folder / 'in').mkdir()
    for name, side in (('small', 8), ('large', 100)):
        cv2.imwrite(str(folder / 'in' / f'{name}.png'), draw.randint(0, 256, (side, side), dtype=np.uint8))
    args = ('-i', 'in', '-o', 'out', '--weights', campaign.weights, '--device', 'cpu')
    campaign.run(
        folder, 4000, RESTORE, *args, script=LIMITED).refused('large.png: the output cannot be written: File too large',
                                                              '1 restored to out, 1 failed')
    assert os.listdir(folder / 'out') == ['small.png']


def full_disk_lmdb(campaign, folder):
    args = ('--input', campaign.many(150), '--set', 'a', '--split', 'train', '--gray')
    campaign.run(folder, 200_000, CREATE_LMDB, *args, script=LIMITED).refused('train_gray.lmdb', 'cannot be written')
    assert os.listdir(folder / 'datasets' / 'a') == []


def full_disk_training(name, campaign, folder):
    """The run ends with a line; with room again it goes on to the bits of an undisturbed run."""
    whole, _ = campaign.whole('plain')
    write_options(folder, options())
    campaign.run(folder, hook=['fill_disk', name]).refused('cannot write checkpoint', 'No space left on device')
    campaign.run(folder, *RESUME, log='resumed').check((0, ))
    assert_same_run(whole, folder, 18)


def no_folder(kind, campaign, folder):
    write_options(folder, options())
    if kind == 'file':
        (folder / 'experiments').write_text('a file')
    else:
        os.symlink('nowhere/at/all', folder / 'experiments')
    campaign.run(folder).refused('experiments')
