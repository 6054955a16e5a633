"""What the subcommands of ``memnet options`` do."""
import sys
from os import path as osp

from ..atomic_file import write_atomically
from ..errors import UsageError
from .option_file import check_file, import_modules, import_user_module, read_option_file
from .shipped import find_option_file
from .strangers import uses_plugin

SCHEMA = osp.join(osp.dirname(osp.dirname(osp.abspath(__file__))), 'options.schema.json')


def run(args):
    """Run an action.

    Args:
        args (Namespace): action, and its options.

    Returns:
        int: Exit code.
    """
    try:
        return {'check': check, 'docs': docs, 'schema': schema, 'new': new}[args.action](args)
    except UsageError as error:
        sys.stderr.write(f'{error}\n')
        return 2
    except OSError as error:
        sys.stderr.write(f'memnet options: {error}\n')
        return 1
    except KeyboardInterrupt:
        return 130


def check(args):
    """Check option files.

    Args:
        args (Namespace): files, here, modules.

    Returns:
        int: 0, or 2 if there is a mistake.
    """
    _import(args.modules)
    code = 0
    for path in args.files:
        try:
            file = read_option_file(find_option_file(path))
            import_modules(file)
            if not uses_plugin(file.options) and not file.faults:
                print(f'{path}: skipped, uses no class of memnet_basicsr')
                continue
            check_file(file, here=args.here)
            print(f'{path}: OK')
        except UsageError as error:
            sys.stderr.write(f'{error}\n')
            code = 2
    return code


def docs(args):
    """Write the reference of all options."""
    _import(args.modules)
    from .reference import docs_text
    write_atomically(args.output, docs_text().encode())
    print(f'wrote {args.output}')
    return 0


def schema(args):
    """Write the JSON Schema."""
    _import(args.modules)
    from .reference import schema_text
    write_atomically(args.output, schema_text().encode())
    print(f'wrote {args.output}')
    return 0


def new(args):
    """Write an option file for a user's images."""
    from .new_options import write_option_file
    for line in write_option_file(args.task, args.clean, args.degraded, args.size, args.output, args.overwrite):
        print(line)
    return 0


def _import(modules):
    for name in modules:
        try:
            import_user_module(name)
        except UsageError as error:
            raise UsageError(f'--import {error}') from None
