"""Write ISTD, ISTD+ or SRD (shadow removal) into LMDBs, with the shadow masks where they exist.

ISTD (Wang et al., CVPR 2018) and ISTD+ are {train,test}/{train_A shadow, train_B mask, train_C shadow-free} (test:
test_A, ...), SRD (Qu et al., CVPR 2017) is {train,test}/{shadow,shadow_free} without masks:

    memnet prepare istd --input ISTD_Dataset --set ISTD
    memnet prepare istd --input SRD --set SRD

You see 1330 and 540 (SRD: 2680 and 408) images and these LMDBs below the current directory:
datasets/ISTD/{train,test}_{lq,gt,mask}.lmdb. Safe to run twice; --partial takes a part of the dataset.
"""
import argparse
from os import path as osp

from memnet_basicsr.analysis.command import run_command
from memnet_basicsr.data.pair_preparation import Split, add_common_arguments, find_splits, images_by_key, prepare_splits

EXPECTED = {
    'ISTD': {'train': 1330, 'test': 540},
    'ISTD+': {'train': 1330, 'test': 540},
    'SRD': {'train': 2680, 'test': 408},
}  # yapf: disable


def find_files(folder, split, data_set):
    """Shadow, shadow-free and (ISTD, where the folder exists) mask images of a split."""
    if data_set == 'SRD':
        return {
            'lq': images_by_key(osp.join(folder, 'shadow')),
            'gt': images_by_key(osp.join(folder, 'shadow_free'), suffix='_no_shadow'),
        }
    files = {kind: images_by_key(osp.join(folder, f'{split}_{letter}')) for kind, letter in (('lq', 'A'), ('gt', 'C'))}
    if osp.isdir(osp.join(folder, f'{split}_B')):
        files['mask'] = images_by_key(osp.join(folder, f'{split}_B'))
    return files


def main(args=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_common_arguments(parser)
    parser.add_argument('--set', choices=list(EXPECTED), default='ISTD', help='which dataset it is. Default: ISTD')
    args = parser.parse_args(args)

    splits = []
    for name in find_splits(args.input, ['train', 'test'], args.splits):
        files = find_files(osp.join(args.input, name), name, args.set)
        splits.append(Split(name, files, (EXPECTED[args.set][name], )))
    for line in prepare_splits(splits, osp.join(args.root, args.set), args.partial, args.overwrite):
        print(line)


if __name__ == '__main__':
    run_command(main)
