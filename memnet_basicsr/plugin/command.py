"""The command ``memnet``: its subcommands and exit codes.

Only the standard library is imported here, so that ``--help`` and mistakes on the command line answer at once.
"""
import argparse
import importlib.util
import os
import sys

DESCRIPTION = 'Restore images, and write and check option files.'
EXAMPLES = """examples:
  memnet restore -i noisy.png -o clean.png --weights memnet_denoise
  memnet options new --task denoise --clean photos/ -o my.yml
  memnet options check my.yml
  python -m memnet_basicsr.train -opt my.yml

exit code: 0 all done, 1 something could not be done, 2 wrong options or mistakes in an option file"""
TASKS = ('denoise', 'deblur', 'sr', 'jpeg', 'pairs')


def parse_args(argv):
    """Read the command line.

    Args:
        argv (list[str]): Arguments.

    Returns:
        argparse.Namespace: Options.
    """
    parser = argparse.ArgumentParser(
        'memnet', description=DESCRIPTION, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest='command', required=True, metavar='COMMAND')
    commands.add_parser('restore', help='restore images: files, folders or patterns in, a folder out', add_help=False)
    options = commands.add_parser('options', help='write and check option files')
    actions = options.add_subparsers(dest='action', required=True, metavar='ACTION')

    check = actions.add_parser('check', help='check option files without running them')
    check.add_argument('files', nargs='+', metavar='FILE', help='option files')
    check.add_argument(
        '--here', action='store_true', help='also check what depends on this machine: folders, GPUs, states')
    docs = actions.add_parser('docs', help='write the reference of all options')
    docs.add_argument('-o', '--output', default=os.path.join('docs', 'options.md'), help='Default: %(default)s')
    schema = actions.add_parser('schema', help='write the JSON Schema that editors read')
    schema.add_argument('-o', '--output', default='options.schema.json', help='Default: %(default)s')
    for action in (check, docs, schema):
        action.add_argument(
            '--import', dest='modules', action='append', default=[], metavar='MODULE',
            help='import a module first, which registers your classes')  # yapf: disable

    new = actions.add_parser('new', help='write an option file for your own images')
    new.add_argument('--task', required=True, choices=TASKS, help='pairs: degraded and clean images of any kind')
    new.add_argument('--clean', required=True, metavar='DIR', help='clean images')
    new.add_argument('--degraded', metavar='DIR', help='degraded images of the same names (deblur, pairs)')
    new.add_argument('--size', choices=('small', 'full'), default='small', help='of the network. Default: %(default)s')
    new.add_argument('-o', '--output', required=True, metavar='FILE', help='option file to write, such as my.yml')
    new.add_argument('--overwrite', action='store_true', help='replace an existing file')
    return parser.parse_args(argv)


def main(argv=None):
    """Run the command.

    Args:
        argv (list[str] | None): Arguments; None takes those of the process. Default: None.

    Returns:
        int: Exit code.
    """
    argv = sys.argv[1:] if argv is None else argv
    if argv[:1] == ['restore']:
        return _load_cli().main(argv[1:])
    args = parse_args(argv)
    # an absolute name: this file may have been loaded by its path, without the package around it
    from memnet_basicsr.errors import UsageError
    from memnet_basicsr.plugin import option_commands
    try:
        return getattr(option_commands, args.action)(args)
    except UsageError as error:
        sys.stderr.write(f'{error}\n')
        return 2
    except OSError as error:
        sys.stderr.write(f'memnet options: {error}\n')
        return 1
    except KeyboardInterrupt:
        return 130


def _load_cli():
    """The module of ``memnet restore``, without importing the package."""
    name = 'memnet_basicsr.inference.cli'
    if name in sys.modules:
        return sys.modules[name]
    path = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), 'inference', 'cli.py')
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


if __name__ == '__main__':
    sys.exit(main())
