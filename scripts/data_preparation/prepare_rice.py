"""Write RICE1 or RICE2 (cloud removal, Lin et al., 2019) into LMDBs.

RICE1 is {cloud,label}, RICE2 {cloud,label,mask}; neither has a split of its own. With {train,test} folders above these
the split is theirs, else the test images are the names in a text file, one per line:

    memnet prepare rice --input RICE1 --set RICE1
    memnet prepare rice --input RICE2 --set RICE2 --test-list rice2_test.txt

You see 500 (RICE2: 450) images in all and these LMDBs below the current directory:
datasets/RICE1/{train,test}_{lq,gt}.lmdb (RICE2 also _mask). Safe to run twice; --partial takes a part of the dataset
or one of its later releases, which hold more.
"""
import argparse
from os import path as osp

from memnet_basicsr.analysis.command import run_command
from memnet_basicsr.data.lmdb_util import make_key
from memnet_basicsr.data.pair_preparation import Split, add_common_arguments, find_splits, images_by_key, prepare_splits
from memnet_basicsr.errors import UsageError

EXPECTED = {'RICE1': 500, 'RICE2': 450}


def find_files(folder):
    """Cloudy, clear and (where the folder exists) mask images."""
    files = {kind: images_by_key(osp.join(folder, name)) for kind, name in (('lq', 'cloud'), ('gt', 'label'))}
    if osp.isdir(osp.join(folder, 'mask')):
        files['mask'] = images_by_key(osp.join(folder, 'mask'))
    return files


def read_test_keys(path, keys):
    """Keys of the test images from a text file of names, with or without extension."""
    if not osp.isfile(path):
        raise UsageError(f'test list {path} does not exist')
    with open(path, encoding='utf-8') as f:
        names = [line.strip() for line in f if line.strip()]
    unknown = [name for name in names if make_key(name) not in keys]
    if unknown or not names:
        fault = f'names {unknown[0]}, which is not in the dataset' if unknown else 'is empty'
        raise UsageError(f'test list {path} {fault}')
    return {make_key(name) for name in names}


def main(args=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_common_arguments(parser, has_splits=False)
    parser.add_argument('--set', choices=list(EXPECTED), default='RICE1', help='which dataset it is. Default: RICE1')
    parser.add_argument('--test-list', help='text file with the names of the test images, one per line')
    args = parser.parse_args(args)

    if args.test_list:
        files = find_files(args.input)
        test = read_test_keys(args.test_list, files['gt'])
        parts = {
            name: {kind: {key: path for key, path in images.items() if (key in test) == (name == 'test')}
                   for kind, images in files.items()}
            for name in ('train', 'test')
        }  # yapf: disable
    elif osp.isdir(osp.join(args.input, 'cloud')):
        raise UsageError(f'{args.input} has no split; name the test images with --test-list')
    else:
        parts = {name: find_files(osp.join(args.input, name)) for name in find_splits(args.input, ['train', 'test'])}
    count, expected = sum(len(files['gt']) for files in parts.values()), EXPECTED[args.set]
    print(f'{args.set}: {count} images in all (expected: {expected})')
    if count != expected and not args.partial:
        raise UsageError(f'{count} images instead of {expected}; use --partial for a subset or a later release')
    splits = [Split(name, files) for name, files in parts.items()]
    for line in prepare_splits(splits, osp.join(args.root, args.set), args.partial, args.overwrite):
        print(line)


if __name__ == '__main__':
    run_command(main)
