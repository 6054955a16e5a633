"""Draw the norms of the gate weights for each source (long-term B_0.., short-term H_1..) of a MemNet's memory blocks.

Example:

    python scripts/analysis/gate_norms.py --weights experiments/train_MemNet_Denoise_BSD/models/net_g_latest.pth \
        --opt options/train_MemNet_Denoise_BSD.yml --output gate_norms.png

Prints one line per block:

    block 2: B0 0.412  B1 0.655  H1 0.310  H2 0.898   mean: long-term 0.533, short-term 0.310, last recursion 0.898

The paper interprets these norms as the importance of a source. They ignore gamma of the gate's BatchNorm, which can
hold part of the factor; --scaled multiplies by |gamma|. Compare only sources within a block: the weights of a gate with
more sources are initialized smaller.
"""
import memnet_basicsr  # noqa: F401  (registers the networks)
from memnet_basicsr.analysis.command import make_parser, run_command
from memnet_basicsr.analysis.drawing import check_output, write_figure
from memnet_basicsr.analysis.memory.gate_norms import gate_norms, mean_norms
from memnet_basicsr.analysis.memory.memnet_drawing import draw_gate_norms
from memnet_basicsr.analysis.networks import load_memnet


def main(args=None):
    parser = make_parser(__doc__, 'weights', 'opt', 'output', 'name')
    parser.add_argument('--scaled', action='store_true', help="multiply by the BatchNorm's |gamma|")
    args = parser.parse_args(args)

    check_output(args.output)
    net = load_memnet(args.weights, args.opt, 'cpu')
    blocks = gate_norms(net, args.scaled)
    for m, norms in enumerate(blocks, 1):
        sources = '  '.join(f'{source} {values.mean():.3f}' for source, values in norms.items())
        means = ', '.join(f'{kind} {value:.3f}' for kind, value in mean_norms(norms).items())
        print(f'block {m}: {sources}   mean: {means}')
    write_figure(draw_gate_norms(blocks, args.name or args.weights, args.scaled), args.output)
    print(f'wrote {args.output}')


if __name__ == '__main__':
    run_command(main)
