"""Convert published weights into a checkpoint that BasicSR loads.

MemNet's weights were published for Caffe. Export their blobs once, where pycaffe is installed:

    import caffe, numpy as np
    net = caffe.Net('deploy.prototxt', 'weights.caffemodel', caffe.TEST)
    blobs = {f'{layer}/{i}': blob.data for layer, params in net.params.items() for i, blob in enumerate(params)}
    np.savez('memnet_blobs.npz', **blobs)

(keys may also start with ``blob:``). Then:

    python scripts/convert_weights.py --network memnet --input memnet_blobs.npz --output memnet.pth

and use it in an option file with ``path: pretrain_network_g: memnet.pth``. The script prints the arguments for
``network_g``. The same works for a released checkpoint of MemoryNet (weights under ``state_dict``, names with
``module.``):

    python scripts/convert_weights.py --network memorynet --input model_best.pth --output memorynet.pth

An existing output is kept unless --force is given.
"""
import argparse
import numpy as np
import sys
import zipfile
from os import path as osp

from memnet_basicsr.engine.checkpoint import save_whole
from memnet_basicsr.errors import UsageError
from memnet_basicsr.inference.memnet_caffe import convert_caffe_blobs
from memnet_basicsr.inference.memorynet_released import convert_released_checkpoint


def convert_memnet(path):
    """Return network_g's options and the state dict of published MemNet blobs in an .npz file."""
    try:
        with np.load(path) as data:
            blobs = {name.removeprefix('blob:'): data[name] for name in data.files if is_blob(name)}
    except (OSError, EOFError, TypeError, ValueError, zipfile.BadZipFile) as error:
        raise UsageError(f'{path} cannot be read as an .npz file of blobs ({error})') from None
    config, state = convert_caffe_blobs(blobs)
    return {'type': 'MemNet', **config}, state


def is_blob(name):
    # an .npz file with marked blobs may hold other entries, such as a test input, without layer/index name
    return name.startswith('blob:') or '/' in name


# network -> function from a path to options of network_g and state dict
CONVERTERS = {'memnet': convert_memnet, 'memorynet': convert_released_checkpoint}


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--network', choices=sorted(CONVERTERS), required=True, help='network of the weights')
    parser.add_argument('--input', required=True, help='published weights (memnet: .npz of blobs, memorynet: .pth)')
    parser.add_argument('--output', required=True, help='checkpoint to write (.pth)')
    parser.add_argument('--force', action='store_true', help='overwrite an existing output')
    args = parser.parse_args(argv)
    try:
        if not osp.isfile(args.input):
            raise UsageError(f'--input {args.input} is not a file')
        if not osp.isdir(osp.dirname(osp.abspath(args.output))):
            raise UsageError(f'the folder of --output {args.output} does not exist')
        if osp.exists(args.output) and not args.force:
            raise UsageError(f'--output {args.output} exists; use another name, or --force to overwrite it')
        options, state = CONVERTERS[args.network](args.input)
        save_whole({'params': state}, args.output)
    except (UsageError, OSError) as error:
        sys.exit(f'Error: {error}')
    print(f'Wrote {len(state)} tensors to {args.output}. Use it with\nnetwork_g:')
    print('\n'.join(f'  {key}: {value}' for key, value in options.items()))


if __name__ == '__main__':
    main()
