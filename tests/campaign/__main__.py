"""The long part of the campaign: ``make campaign``. Prints a table; exit code 1 if a fault is not held.

    python -m tests.campaign                        # all faults, about 20 minutes on one core
    python -m tests.campaign --only kills --seed 7  # other random faults of one part
"""
import argparse
import shutil
import sys
import tempfile
import time
from pathlib import Path

from tests.campaign import damaged_lmdbs, downloads, file_system, images, kills, malicious, option_files
from tests.campaign.faults import Campaign

PARTS = {
    'kills': kills,
    'file system': file_system,
    'option files': option_files,
    'malicious files': malicious,
    'downloads': downloads,
    'LMDBs': damaged_lmdbs,
    'images and NaN': images,
}


def attempt(fault, campaign, folder):
    """Make a fault; returns what was wrong with its outcome, '' if nothing."""
    try:
        fault(campaign, folder)
    except Exception as error:  # each failure is a line of the table
        return f'{type(error).__name__}: {error}'
    return ''


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--only', nargs='+', choices=PARTS, default=list(PARTS), help='parts')
    parser.add_argument('--seed', type=int, default=0, help='of the random faults. Default: %(default)s')
    parser.add_argument('--output', help='folder that keeps the files of all faults; by default those of failures')
    args = parser.parse_args()
    root = Path(args.output or tempfile.mkdtemp(prefix='campaign_'))
    campaign, rows, failures = Campaign(root, args.seed, is_long=True), [], []
    for part in args.only:
        count, failed, start = 0, len(failures), time.monotonic()
        for number, (name, fault) in enumerate(PARTS[part].faults(campaign)):
            folder, count = campaign.folder(part.replace(' ', '_'), number), count + 1
            fault_text = attempt(fault, campaign, folder)
            if fault_text:
                failures.append(f'{part}: {name} ({folder}): {fault_text}')
                print(failures[-1], flush=True)
            elif not args.output:
                shutil.rmtree(folder)
        rows.append((part, count, count - (len(failures) - failed), time.monotonic() - start))
        print(f'{part}: {count} faults in {rows[-1][3]:.0f} s', flush=True)
    campaign.close()
    print(f'\n| part | faults | held | failed | seconds |\n|---|---|---|---|---|\n{table(rows)}\n(seed {args.seed})')
    if not failures and not args.output:
        shutil.rmtree(root)
    return 1 if failures else 0


def table(rows):
    rows = [*rows, ('all', *(sum(column) for column in list(zip(*rows))[1:]))]
    return '\n'.join(f'| {part} | {count} | {held} | {count - held} | {seconds:.0f} |'
                     for part, count, held, seconds in rows)


if __name__ == '__main__':
    sys.exit(main())
