"""Export weights to ONNX, with dynamic batch, height and width.

    python scripts/export_onnx.py memnet_denoise memnet_denoise.onnx
    python scripts/export_onnx.py memnet_denoise memnet_denoise_int8.onnx --int8 --calibrate noisy/
    memnet-restore -i photos/ -o restored/ --weights memnet_denoise_int8.onnx --backend openvino

If onnxruntime is installed (pip install onnx onnxruntime), the result is compared with torch for images of several
sizes. Weights are a bundled name, a .pth or .safetensors file with a description (scripts/package_weights.py makes one
from a training checkpoint), or a URL.
"""
import argparse
import sys

from memnet_basicsr.errors import UsageError
from memnet_basicsr.inference.export import export_onnx


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('weights', help='bundled name, path or URL')
    parser.add_argument('output', help='.onnx file to write')
    parser.add_argument('--int8', action='store_true', help='quantize the inner convolutions (needs onnxruntime)')
    parser.add_argument('--calibrate', metavar='FOLDER', help='for --int8: degraded images for calibration')
    parser.add_argument('--opset', type=int, default=17, help='ONNX operator set version. Default: %(default)s')
    args = parser.parse_args()
    if args.int8 != (args.calibrate is not None):
        parser.error('give --int8 and --calibrate together')
    try:
        result = export_onnx(args.weights, args.output, args.opset, args.calibrate)
    except (UsageError, OSError) as error:
        sys.exit(f'export_onnx: {error}')
    checked = 'not checked: onnxruntime is not installed' if result['difference'] is None else \
        f"largest difference to torch {result['difference']:.1e}"
    sizes = 'any size' if result['multiple'] == 1 else f"sizes that are multiples of {result['multiple']}"
    loss = '' if result['psnr'] is None else f", int8 (outputs differ from fp32 by a PSNR of {result['psnr']:.1f} dB)"
    print(f'{args.output}: written, {sizes}, {checked}{loss}')


if __name__ == '__main__':
    main()
