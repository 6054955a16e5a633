"""The command ``memnet options``: its options and exit codes.

Only the standard library is imported here, so that ``--help`` and mistakes on the command line answer at once.
"""
import argparse
import os
import re
import sys

from _memnet_basicsr_command import load

TASKS = ('denoise', 'deblur', 'sr', 'jpeg', 'pairs')


def parse_args(argv):
    """Read the command line.

    Args:
        argv (list[str]): Arguments.

    Returns:
        argparse.Namespace: Options.
    """
    parser = argparse.ArgumentParser('memnet options', description='List, copy, write and check option files.')
    actions = parser.add_subparsers(dest='action', required=True, metavar='ACTION')

    actions.add_parser('list', help='list the option files that come with the package')
    copy = actions.add_parser('copy', help='copy one of them, to change it')
    copy.add_argument('name', metavar='NAME', help='name, as `memnet options list` prints it')
    copy.add_argument('-o', '--output', metavar='FILE', help='Default: NAME.yml in the current folder')
    copy.add_argument('--overwrite', action='store_true', help='replace an existing file')

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
            help='import this module first, so that your classes are registered')  # yapf: disable

    new = actions.add_parser('new', help='write an option file for your own images')
    new.add_argument('--task', required=True, choices=TASKS, help='pairs: any task with degraded and clean images')
    new.add_argument('--clean', required=True, metavar='DIR', help='folder of clean images, at least 2')
    new.add_argument('--degraded', metavar='DIR', help='folder of degraded images with the same names (deblur, pairs)')
    new.add_argument('--size', choices=('small', 'full'), default='small', help='network size. Default: %(default)s')
    new.add_argument('-o', '--output', required=True, metavar='FILE', help='option file to write, such as my.yml')
    new.add_argument('--overwrite', action='store_true', help='replace an existing file')
    return parser.parse_args(argv)


def list_files(args):
    """Print the shipped option files, a line each."""
    shipped = load('plugin.shipped')
    for name, path in shipped.option_files().items():
        print(f'{name:38} {shipped.title(path)}')
    return 0


def copy_file(args):
    """Copy a shipped option file."""
    shipped = load('plugin.shipped')
    source = shipped.find_option_file(os.path.basename(args.name))
    target = args.output or f'{os.path.splitext(os.path.basename(args.name))[0]}.yml'
    if source not in shipped.option_files().values():
        sys.stderr.write(
            f'memnet options copy: there is no option file {args.name}; `memnet options list` lists them\n')
        return 2
    if os.path.exists(target) and not args.overwrite:
        sys.stderr.write(f'memnet options copy: {target} already exists (use --overwrite to replace it)\n')
        return 1
    with open(source, encoding='utf-8') as f:
        text = f.read()
    schema = os.path.join(shipped.PACKAGE, 'options.schema.json')
    with open(target, 'w', encoding='utf-8') as f:
        f.write(re.sub(r'(?<=\$schema=)\S+', lambda _: schema, text, count=1))
    print(f'wrote {target}')
    return 0


def main(argv):
    """Run the command.

    Args:
        argv (list[str]): Arguments.

    Returns:
        int: Exit code.
    """
    args = parse_args(argv)
    try:
        if args.action in ('list', 'copy'):
            return {'list': list_files, 'copy': copy_file}[args.action](args)
    except BrokenPipeError:  # `memnet options list | head`
        return 0
    except OSError as error:
        sys.stderr.write(f'memnet options: {error}\n')
        return 1
    load('plugin.light_imports').import_package()
    # absolute names: this file may have been loaded by its path, without the package around it
    from memnet_basicsr.registry import require_basicsr
    require_basicsr()
    from memnet_basicsr.plugin import option_commands
    return option_commands.run(args)
