"""What networks cost: parameters, multiply-accumulates and activations, counted by two libraries."""
import csv
import io
import torch
from dataclasses import dataclass

from ..errors import UsageError

# what torch's counter counts too: sums of products; the rest (normalization, resizing, pooling) only mmengine counts
PRODUCTS = ('conv', 'linear', 'matmul', 'bmm', 'baddbmm', 'einsum')
TOLERANCE = 1e-6  # of the ratio of the two counts of products
COLUMNS = ('network', 'option files', 'parameters', 'MACs', 'products', 'torch', 'ratio', 'activations', 'other',
           'flag')


@dataclass(frozen=True)
class Complexity:
    """Cost of a network on one picture.

    Args:
        parameters (int): Parameters, shared ones once.
        activations (int): Numbers that convolutions and matrix products give, by mmengine.
        operators (dict[str, float]): Kind of operation -> multiply-accumulates, by mmengine.
        torch_macs (float): Multiply-accumulates of products, half of what torch's FLOP counter counts.
    """
    parameters: int
    activations: int
    operators: dict
    torch_macs: float

    def macs(self):
        """All that mmengine counts."""
        return sum(self.operators.values())

    def products(self):
        """Of these, convolutions and matrix products."""
        return sum(v for k, v in self.operators.items() if k in PRODUCTS)

    def ratio(self):
        """mmengine's count of products over torch's; 1 where both saw the same network."""
        return self.products() / self.torch_macs if self.torch_macs else float(self.products() == 0)

    def other(self):
        """What mmengine counts beside products, with its share of all, as text."""
        rest = {k: v / self.macs() for k, v in self.operators.items() if k not in PRODUCTS and v}
        return ', '.join(f'{k} {100 * v:.2g} %' for k, v in sorted(rest.items(), key=lambda v: -v[1]))

    def flag(self):
        """'' where the counts of products agree, else what to think of it."""
        if abs(self.ratio() - 1) <= TOLERANCE:
            return ''
        return ('mmengine counts less: an operation is hidden from it' if self.ratio() < 1 else
                'torch counts less: an operation is hidden from it')  # yapf: disable


def complexity(net, shape):
    """Count what a network costs in evaluation mode.

    By mmengine's analysis of the traced network, and by torch's counter of the operations that run. Without gradients,
    since MemNet's and MemoryNet's own autograd functions would hide their convolutions from the trace (without
    gradients they are plain operations); so what is counted is inference.

    Args:
        net (nn.Module): Network; it is left in evaluation mode, its parameters without gradients.
        shape (tuple[int]): Channels, height and width of the picture.

    Returns:
        Complexity: The counts.

    Raises:
        UsageError: If the network does not run on such a picture.
    """
    from mmengine.analysis import ActivationAnalyzer, FlopAnalyzer, parameter_count
    from torch.utils.flop_counter import FlopCounterMode
    net.eval().requires_grad_(False)  # the module tracker of torch's counter fails on views of parameters otherwise
    picture = torch.rand(1, *shape, device=next(net.parameters()).device)
    flops, activations = FlopAnalyzer(net, (picture, )), ActivationAnalyzer(net, (picture, ))
    for analyzer in (flops, activations):
        # the operations without a count are elementwise; submodules whose weights are used directly are counted all
        # the same
        analyzer.unsupported_ops_warnings(False).uncalled_modules_warnings(False).tracer_warnings('none')
    counter = FlopCounterMode(display=False)
    try:
        with torch.no_grad():
            with counter:
                net(picture)
            operators = {k: float(v) for k, v in flops.by_operator().items()}
            return Complexity(
                parameter_count(net)[''], int(activations.total()), operators,
                counter.get_total_flops() / 2)
    except RuntimeError as error:
        raise UsageError(f'{type(net).__name__} does not run on a picture of {shape[0]} channels, {shape[2]} x '
                         f'{shape[1]} pixels: {str(error).splitlines()[0]}') from None


def unique_networks(network_opts):
    """Option files by the network that they have.

    Args:
        network_opts (dict[str, dict]): Name of an option file -> type and arguments of its network.

    Returns:
        list[tuple]: Type and arguments, and the names of the files, in order of the first ones.
    """
    found = []
    for name, network_opt in network_opts.items():
        same = [names for other, names in found if other == network_opt]
        if same:
            same[0].append(name)
        else:
            found.append((network_opt, [name]))
    return found


def cost_rows(costs):
    """Rows of the cost table.

    Args:
        costs (list[tuple]): Type and arguments of a network, names of its option files, and its Complexity.

    Returns:
        list[dict]: ``COLUMNS`` and values; counts are plain numbers.
    """
    return [
        dict(
            zip(COLUMNS,
                (describe_network(opt), ', '.join(names), cost.parameters, round(cost.macs()), round(cost.products()),
                 round(cost.torch_macs), cost.ratio(), cost.activations, cost.other(), cost.flag())))
        for opt, names, cost in costs
    ]


def describe_network(opt):
    """Type and arguments of a network in one line; a nested network likewise."""
    args = {k: describe_network(v) if isinstance(v, dict) and 'type' in v else v for k, v in opt.items() if k != 'type'}
    text = ', '.join(f'{k} {v}' for k, v in args.items())
    return f'{opt["type"]}({text})' if text else opt['type']


def markdown_table(rows, shape):
    """Cost table in Markdown.

    Args:
        rows (list[dict]): See :func:`cost_rows`.
        shape (tuple[int]): Height and width of the picture in pixels.

    Returns:
        str: The table.
    """
    lines = [
        f'| network_g of | type | parameters | GMACs ({shape[1]} x {shape[0]}) | of them products | torch | ratio | '
        'activations (M) | the rest |',
        '|---|---|---:|---:|---:|---:|---:|---:|---|',
    ]
    for row in rows:
        names = sorted(row['option files'].split(', '), key=lambda v: not v.startswith('train_'))
        shown = ', '.join(names[:2]) + (f' and {len(names) - 2} more' if len(names) > 2 else '')
        rest = row['other'] + (f' **{row["flag"]}**' if row['flag'] else '')
        lines.append(f'| {shown} | {row["network"].split("(")[0]} | {row["parameters"]:,} | {row["MACs"] / 1e9:.3f} | '
                     f'{row["products"] / 1e9:.3f} | {row["torch"] / 1e9:.3f} | {row["ratio"]:.6f} | '
                     f'{row["activations"] / 1e6:.2f} | {rest or "-"} |')
    return '\n'.join(lines)


def csv_table(rows):
    """Cost table as CSV, all columns, with the arguments of the networks."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, COLUMNS, lineterminator='\n')
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue()
