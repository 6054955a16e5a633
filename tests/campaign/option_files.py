"""Wrong option files: a table of files and expected lines, for train.py and for ``memnet options check``."""
import os
import time
from functools import partial

from tests.campaign.faults import COMMAND
from tests.campaign.malicious import STOCK
from tests.test_engine.tiny_runs import options, write_options
from tests.test_plugin.wrong_files import CHANGES, FILES

TABLE = {**FILES, **CHANGES}
# --force_yml or --launcher and the expected words
ARGUMENTS = [
    (['--force_yml', 'train'], 'write block:key=value'),
    (['--force_yml', 'trian:total_iter=2'], 'has no block `trian:`; closest match: train'),
    (['--force_yml', 'train:total_iter=[open("executed", "w")]'], 'is not a plain value'),
    (['--force_yml', 'x"];open("executed","w");opt["y=1'], 'write block:key=value'),
    (['--force_yml', 'train:total_iter=-3'], "train: total_iter: '-3' is a string"),
    (['--launcher', 'pytorch'], 'start the run with torchrun'),
    (['--launcher', 'slurm'], 'start the run with srun'),
]


def faults(campaign):
    names = list(TABLE) if campaign.is_long else list(TABLE)[::12]
    for name in names:
        yield name, partial(wrong_file, *TABLE[name])
    for args, words in ARGUMENTS if campaign.is_long else ARGUMENTS[2:4]:
        yield ' '.join(args), partial(wrong_arguments, args, words, False)
        if 'executed' in args[1]:
            yield f'{" ".join(args)} with SRModel', partial(wrong_arguments, args, words, True)


def wrong_file(text, words, campaign, folder):
    """One line at once, exit code 2, and an earlier run of the name is left as it is."""
    (folder / 'x.yml').write_bytes(text if isinstance(text, bytes) else text.encode())
    (folder / 'experiments' / 'tiny').mkdir(parents=True)
    (folder / 'experiments' / 'tiny' / 'mine').touch()
    words = words.split(': ', 1)[1] if words[0].isdigit() and ': ' in words else words
    for script, args in ((None, ('-opt', 'x.yml')), (COMMAND, ('options', 'check', 'x.yml'))):
        start = time.monotonic()
        more = {} if script is None else {'script': script}
        campaign.run(folder, *args, log='options' if script else 'train', **more).check((2, ), 'x.yml', words)
        assert time.monotonic() - start < 20
    assert os.listdir(folder / 'experiments') == ['tiny'] and os.listdir(folder / 'experiments' / 'tiny') == ['mine']
    assert not (folder / 'gone').exists()  # what the tags in the files touch


def wrong_arguments(args, words, stock, campaign, folder):
    """For a run of the package, or one that uses BasicSR only."""
    write_options(folder, options(**(STOCK if stock else {})))
    campaign.run(folder, '-opt', 't.yml', *args).check((2, ), words)
    assert not (folder / 'experiments').exists()
