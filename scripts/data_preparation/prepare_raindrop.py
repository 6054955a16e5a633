"""Write RainDrop (raindrop removal, Qian et al., CVPR 2018) into LMDBs.

The dataset is {train,test_a,test_b}/{data/N_rain.png, gt/N_clean.png}:

    memnet prepare raindrop --input RainDrop

You see 861 training and 58 (test_a) and 249 (test_b; 239 in the dataset's own README) test pairs, and these LMDBs
below the current directory: datasets/RainDrop/{train,test_a,test_b}_{lq,gt}.lmdb. Safe to run twice; --partial takes a
part of the dataset.
"""
import argparse
from os import path as osp

from memnet_basicsr.analysis.command import run_command
from memnet_basicsr.data.pair_preparation import Split, add_common_arguments, find_splits, images_by_key, prepare_splits

EXPECTED = {'train': (861, ), 'test_a': (58, ), 'test_b': (249, 239)}


def main(args=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_common_arguments(parser)
    args = parser.parse_args(args)

    splits = []
    for name in find_splits(args.input, list(EXPECTED), args.splits):
        files = {
            'lq': images_by_key(osp.join(args.input, name, 'data'), suffix='_rain'),
            'gt': images_by_key(osp.join(args.input, name, 'gt'), suffix='_clean'),
        }
        splits.append(Split(name, files, EXPECTED[name]))
    for line in prepare_splits(splits, osp.join(args.root, 'RainDrop'), args.partial, args.overwrite):
        print(line)


if __name__ == '__main__':
    run_command(main)
