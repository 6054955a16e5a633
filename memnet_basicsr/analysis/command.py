"""Shared parts of the command lines in ``scripts/``."""
import argparse
import sys
from tabulate import tabulate

from ..errors import UsageError

ARGUMENTS = {
    'weights': dict(required=True, help='checkpoint of a training run, or weights file with a description'),
    'opt': dict(help='option file of the training run; not needed if --weights has a description'),
    'output': dict(required=True, help='PNG file to write'),
    'device': dict(help='device to compute on. Default: cuda if available, else cpu'),
    'max_images': dict(type=int, metavar='N', help='use only the first N images. Default: all'),
    'index': dict(type=int, default=0, help='index of the image in a folder or LMDB. Default: 0'),
    'name': dict(help='name of the network in the figure. Default: --weights')
}


def make_parser(description, *names, several=()):
    """Build an argument parser with options that several scripts share.

    Args:
        description (str): Docstring of the script.
        names (str): Shared options, keys of ``ARGUMENTS``.
        several (tuple[str]): Shared options that take one value per network. Default: ().

    Returns:
        argparse.ArgumentParser: The parser.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in (*several, *names):
        more = dict(nargs='+') if name in several else {}
        parser.add_argument(f'--{name.replace("_", "-")}', **ARGUMENTS[name], **more)
    return parser


def per_network(args, name):
    """Values of an option, one for each of ``--weights``.

    Args:
        args (argparse.Namespace): Parsed arguments.
        name (str): Name of the option.

    Returns:
        list: Values; None for each network if the option is not given.

    Raises:
        UsageError: If the number of values does not match.
    """
    values, count = getattr(args, name), len(args.weights)
    if not values:
        return [None] * count
    if len(values) != count:
        raise UsageError(f'--{name}: {len(values)} given for {count} of --weights; give one for each')
    return values


def markdown_table(columns, rows):
    """Format rows of text as a Markdown table."""
    return tabulate(rows, columns, tablefmt='github', disable_numparse=True)


def run_command(main):
    """Run a script and exit with its status; print errors as one line, without a traceback.

    Args:
        main (callable): Takes no arguments and returns an exit status or None.
    """
    try:
        sys.exit(main())
    except (UsageError, OSError) as error:
        sys.exit(f'Error: {error}')
    except KeyboardInterrupt:
        sys.exit('Interrupted; run the same command again to continue')
