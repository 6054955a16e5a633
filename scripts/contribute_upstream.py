"""Make a series of branches in a BasicSR checkout, one for each pull request, each on top of the one before.

    python scripts/contribute_upstream.py                              # list the steps
    python scripts/contribute_upstream.py --series --basicsr ../BasicSR

A step holds files and patches. Files of `memnet_basicsr/` are copied; networks then import BasicSR's registry. Files
that need another form in BasicSR are in `scripts/upstream/files`, in BasicSR's layout; patches of BasicSR's own files
are in `scripts/upstream`. A commit that adds more lines outside `tests/` than its budget is refused.
`docs/upstream.md` has the text of each pull request. Patches of files that the checkout lacks (the source archive has
no docs) are skipped with a note.
"""
import argparse
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
OURS, FORMS = ROOT / 'memnet_basicsr', ROOT / 'scripts' / 'upstream'


class Commit(NamedTuple):
    """One commit: a patch and files. The paths of both kinds of files are those in BasicSR."""
    title: str
    budget: int  # lines added outside tests/
    patch: str = ''  # file in scripts/upstream
    ours: tuple = ()  # basicsr/x is a copy of memnet_basicsr/x
    forms: tuple = ()  # x is a copy of scripts/upstream/files/x
    optional: bool = False  # skipped where the patch does not apply


def fix(name):
    """A fix: its patch begins with the message of its commit."""
    patch = f'1.{name}.patch'
    return Commit((FORMS / patch).read_text().partition('\ndiff --git')[0], 25, patch, optional=True)


STEPS = {
    '1-fixes': [fix(v) for v in ('1-local-rank', '2-self-ensemble', '3-ema-buffers', '4-resume-on-cpu', '5-seeds')],
    '2-memnet': [
        Commit(
            'Add MemNet', 300, '2-memnet.patch',
            ('basicsr/archs/memnet_arch.py', 'basicsr/losses/multi_supervised_loss.py'),
            ('options/train/MemNet/train_MemNet_SRx3_M6R6_DIV2K_200k_B16G1.yml', 'tests/test_archs/test_memnet_arch.py',
             'tests/test_losses/test_multi_supervised_loss.py'))
    ],
    '3-datasets': [
        Commit(
            'Add datasets that degrade images on the fly: noise, JPEG, bicubic', 350, '3-datasets.patch', (),
            ('basicsr/data/degraded_image_dataset.py',
             'options/train/MemNet/train_MemNet_GrayDenoise_M6R6_BSD500_200k_B16G1.yml',
             'tests/test_data/test_degraded_image_dataset.py'))
    ],
    '4-losses': [
        Commit(
            'Add EdgeLoss, MultiOutputLoss and PSNRLoss', 180, '4-losses.patch',
            ('basicsr/losses/edge_loss.py', 'basicsr/losses/multi_output_loss.py', 'basicsr/losses/psnr_loss.py'),
            ('docs/Losses.md', 'tests/test_losses/test_restoration_losses.py'))
    ],
    '5-mprnet': [
        Commit(
            'Add MPRNet, the backbone of MemoryNet', 400, '5-mprnet.patch', ('basicsr/archs/mprnet_util.py', ),
            ('basicsr/archs/mprnet_arch.py', 'options/train/MPRNet/train_MPRNet_GoPro_263k_B2G8.yml',
             'tests/test_archs/test_mprnet_arch.py'))
    ],
    '6-memorynet': [
        Commit('Add MemoryNet: MPRNet with a hierarchical memory', 350, '6-memorynet.patch',
               ('basicsr/archs/memory_util.py', ),
               ('basicsr/archs/memorynet_arch.py', 'tests/test_archs/test_memorynet_arch.py'))
    ],
    '7-memorynet-model': [
        Commit(
            'Add MemoryNetModel: reconstruction from memory and contrastive learning', 390, '7-memorynet-model.patch',
            ('basicsr/archs/contrast_arch.py', 'basicsr/losses/contrastive_loss.py'),
            ('basicsr/models/memorynet_model.py', 'options/train/MemoryNet/train_MemoryNet_GoPro_263k_B2G8.yml',
             'tests/test_losses/test_contrastive_loss.py', 'tests/test_models/test_memorynet_model.py'))
    ],
    '8-metrics': [
        Commit(
            'Add metrics of restoration benchmarks: luminance, 3-D SSIM, LAB', 300, '8-metrics.patch',
            ('basicsr/metrics/lab.py', 'basicsr/metrics/luma.py', 'basicsr/metrics/ssim_3d.py',
             'basicsr/metrics/ssim_map.py'),
            ('basicsr/metrics/lab_error.py', 'tests/test_metrics/test_restoration_metrics.py'))
    ],
}  # yapf: disable


class Checkout:
    """Git repository of BasicSR."""

    def __init__(self, folder):
        self.folder = Path(folder)
        if not (self.folder / 'basicsr' / 'train.py').is_file():
            sys.exit(f'error: --basicsr {folder}: no checkout of BasicSR')
        if self.git('status', '--porcelain', '--untracked-files=no'):
            sys.exit(f'error: --basicsr {folder}: commit or stash your changes first')

    def git(self, *args, check=True):
        result = subprocess.run(['git', '-C', str(self.folder), *args], capture_output=True, text=True)
        if check and result.returncode:
            sys.exit(f'error: git {" ".join(args)}: {result.stderr.strip()}')
        return result.stdout.strip() if check else result.returncode == 0

    def apply(self, name, optional):
        """Apply a patch to the files that exist; return whether it was applied."""
        patch = FORMS / name
        known = re.findall(r'^--- a/(\S+)', patch.read_text(encoding='utf-8'), re.MULTILINE)
        absent = [v for v in known if not (self.folder / v).is_file()]
        if absent:
            print(f'  {name}: not in this checkout, skipped: {", ".join(absent)}')
        command = ['apply', '--index', '--recount', *(f'--exclude={v}' for v in absent), str(patch)]
        if optional and not self.git(*command, '--check', check=False):
            print(f'  {name}: does not apply to this checkout, skipped')
            return False
        if len(absent) < len(known):
            self.git(*command)
        return True

    def copy(self, source, target):
        path = self.folder / target
        path.parent.mkdir(parents=True, exist_ok=True)
        text = source.read_text(encoding='utf-8')  # our registry is BasicSR's
        path.write_text(text.replace('from ..registry import', 'from basicsr.utils.registry import'), encoding='utf-8')
        self.git('add', '--force', '--', target)

    def added_lines(self):
        """Lines that the index adds to HEAD outside tests/."""
        rows = [v.split('\t') for v in self.git('diff', '--cached', '--numstat').splitlines()]
        return sum(int(added) for added, _, path in rows if not path.startswith('tests/'))

    def commit(self, commit):
        """Make a commit; return its lines outside tests/, or None if it was skipped."""
        for path in commit.ours:
            self.copy(OURS / Path(path).relative_to('basicsr'), path)
        for path in commit.forms:
            self.copy(FORMS / 'files' / path, path)
        if commit.patch and not self.apply(commit.patch, commit.optional):
            return None
        lines = self.added_lines()
        if lines <= commit.budget:
            self.git('commit', '--quiet', '--message', commit.title.strip())
        return lines


def make_series(checkout):
    """Make the branch of every step; leave the checkout on the branch on which it was."""
    start = checkout.git('symbolic-ref', '--short', 'HEAD')
    existing = [v for v in STEPS if checkout.git('rev-parse', '--verify', '--quiet', f'refs/heads/{v}', check=False)]
    if existing:
        sys.exit(f'error: the branch {existing[0]} exists; delete it first: git branch -D {" ".join(existing)}')
    for name, commits in STEPS.items():
        checkout.git('checkout', '--quiet', '-b', name)
        print(name)
        for commit in commits:
            lines, title = checkout.commit(commit), commit.title.splitlines()[0]
            if lines is not None:
                print(f'  {title}: {lines} of {commit.budget} lines')
            if lines is not None and lines > commit.budget:
                checkout.git('reset', '--quiet', '--hard')
                checkout.git('checkout', '--quiet', start)
                sys.exit(f'error: {name}: {title}: {lines} lines outside tests/, the budget is {commit.budget}')
    checkout.git('checkout', '--quiet', start)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--series', action='store_true', help='make the branches')
    parser.add_argument('--basicsr', help='checkout of BasicSR, on the branch on which the series begins')
    args = parser.parse_args()
    if not args.series:
        for name, commits in STEPS.items():
            for commit in commits:
                print(f'{name}: {commit.title.splitlines()[0]} (at most {commit.budget} lines)')
    elif not args.basicsr:
        parser.error('--series needs --basicsr CHECKOUT')
    else:
        make_series(Checkout(args.basicsr))


if __name__ == '__main__':
    main()
