"""Prepare paired datasets as LMDBs: <root>/<set>/<split>_{lq,gt,mask}.lmdb, with the same keys in each."""
from dataclasses import dataclass
from os import path as osp
from tqdm import tqdm

from ..errors import UsageError
from .image_source import list_images, read_header
from .lmdb_preparation import prepare_lmdb
from .lmdb_util import make_key, outcome


@dataclass
class Split:
    """One split of a paired dataset.

    Args:
        name (str): Name, e.g. 'train'.
        files (dict[str, dict[str, str]]): Kind ('lq', 'gt', perhaps 'mask') -> key -> path of the image.
        expected (tuple[int]): Numbers of pairs that the complete split may have; empty when it is not known.
        crop_size (int | None): Side of sub-images in pixels. Default: None (whole images).
        step (int | None): Distance between sub-images. Default: None.
    """
    name: str
    files: dict
    expected: tuple = ()
    crop_size: int | None = None
    step: int | None = None


def images_by_key(folder, suffix='', prefix=''):
    """Keys and files of one folder's images.

    Args:
        folder (str): The folder (subfolders do not count).
        suffix (str): Suffix of the file names that the keys lack, e.g. '_rain'. Default: ''.
        prefix (str): Prefix of the keys. Default: ''.

    Returns:
        dict[str, str]: Key -> path, sorted by key.

    Raises:
        UsageError: The folder is missing or empty, or two images get the same key.
    """
    files = {}
    for name in list_images(folder):
        key, path = prefix + make_key(name).removesuffix(suffix), osp.join(folder, name)
        if key in files:
            raise UsageError(f'{files[key]} and {path} would have the same key {key}; rename one of them')
        files[key] = path
    return dict(sorted(files.items()))


def add_common_arguments(parser, has_splits=True):
    """Add the arguments that all preparation scripts of paired sets share.

    Args:
        parser (ArgumentParser): The script's parser.
        has_splits (bool): Whether ``--splits`` is offered. Default: True.
    """
    parser.add_argument('--input', required=True, help='root folder of the dataset, in its original layout')
    parser.add_argument('--root', default='datasets', help='folder of all LMDBs. Default: datasets')
    if has_splits:
        parser.add_argument('--splits', nargs='+', help='splits to prepare. Default: all that exist')
    parser.add_argument(
        '--partial', action='store_true', help='accept a subset of the dataset: do not check the number of images')
    parser.add_argument('--overwrite', action='store_true', help='replace LMDBs made from other images or settings')


def find_splits(folder, names, wanted=None):
    """Find the splits of a dataset that exist.

    Args:
        folder (str): Folder of the dataset.
        names (list[str]): Names of all its splits, which are its folders' names.
        wanted (list[str] | None): Splits that must exist; None for all that exist. Default: None.

    Returns:
        list[str]: Names.

    Raises:
        UsageError: The folder, or a wanted split, or every split is missing.
    """
    if not osp.isdir(folder):
        raise UsageError(f'folder {folder} does not exist')
    there = [name for name in names if osp.isdir(osp.join(folder, name))]
    missing = [name for name in wanted or [] if name not in there]
    if missing or not there:
        raise UsageError(f'{folder} has no folder {" or ".join(missing or names)}; is it the dataset as distributed?')
    return list(wanted or there)


def prepare_splits(splits, folder, partial=False, overwrite=False):
    """Check all splits (names, counts, sizes), then write them. LMDBs made from the same files are kept.

    Args:
        splits (list[Split]): The splits.
        folder (str): Where the LMDBs go, e.g. 'datasets/GoPro'.
        partial (bool): Whether any number of images will do. Default: False.
        overwrite (bool): Whether LMDBs made from other files or settings are replaced. Default: False.

    Yields:
        str: What was found, written or kept, one line each.

    Raises:
        UsageError: Images without a partner, a wrong count, sizes that differ, an unreadable image; before
            anything is written, except for an image whose header is fine and whose pixels are not.
    """
    for split in splits:
        yield _checked(split, partial)
    for split in splits:
        for kind, files in split.files.items():
            target = osp.join(folder, f'{split.name}_{kind}.lmdb')
            color = 'gray' if kind == 'mask' else 'rgb'
            yield outcome(target, prepare_lmdb(target, files, color, split.crop_size, split.step, overwrite))


def _checked(split, partial):
    gt = split.files['gt']
    for kind, files in split.files.items():
        for key in sorted(files.keys() ^ gt.keys()):
            has, lacks = ('gt', kind) if key in gt else (kind, 'gt')
            raise UsageError(f'split {split.name}: {gt.get(key) or files[key]} ({has}) has no matching {lacks} image')
    expected = ' or '.join(str(v) for v in split.expected) or 'not known'
    kind = 'triplets' if 'mask' in split.files else 'pairs'
    line = f'split {split.name}: {len(gt)} {kind} found (expected: {expected})'
    if split.expected and not partial and len(gt) not in split.expected:
        raise UsageError(f'{line}; use --partial for a subset of the dataset')
    for key in tqdm(gt, unit='pair', desc=f'check {split.name}', leave=False):
        sizes = {kind: read_header(files[key])[:2] for kind, files in split.files.items()}
        if len(set(sizes.values())) > 1:
            raise UsageError(f'split {split.name}: {gt[key]} and its partners differ in size: {sizes}')
    return line
