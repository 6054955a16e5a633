"""The command ``memnet``: the table of its subcommands.

To add one, write a module with ``main(argv)`` that returns the exit code and imports the standard library only, so
that ``--help`` and mistakes on the command line answer at once, and add its line to ``COMMANDS``.
"""
import difflib
import sys

from _memnet_basicsr_command import load

# name -> module with its `main`, and what it does
COMMANDS = {
    'restore': ('inference.cli', 'restore images: files, folders or patterns in, a folder out'),
    'gui': ('inference.gui', 'restore images on a page in the browser'),
    'options': ('plugin.option_cli', 'list, copy, write and check option files'),
    'prepare': ('plugin.prepare', 'write datasets into LMDBs'),
    'doctor': ('plugin.doctor', 'print versions, what is broken, and how to repair it'),
}
EXAMPLES = """examples:
  memnet restore -i noisy.png -o clean.png --weights memnet_denoise
  memnet options new --task denoise --clean photos/ -o my.yml
  memnet options check my.yml
  memnet prepare gopro --input GOPRO_Large
  python -m memnet_basicsr.train -opt my.yml

exit code: 0 success, 1 failure (such as an image or a file), 2 wrong arguments or errors in an option file"""


def main(argv=None):
    """Run the command.

    Args:
        argv (list[str] | None): Arguments; None reads those of the process. Default: None.

    Returns:
        int: Exit code.
    """
    argv = sys.argv[1:] if argv is None else argv
    name = argv[0] if argv else '--help'
    if name in COMMANDS:
        return load(COMMANDS[name][0]).main(argv[1:])
    if name in ('-h', '--help'):
        lines = [f'  {key:9} {text}' for key, (_, text) in COMMANDS.items()]
        print('\n'.join(['usage: memnet COMMAND ...', '', 'commands (memnet COMMAND --help):', *lines, '', EXAMPLES]))
        return 0 if argv else 2
    near = difflib.get_close_matches(name, COMMANDS, 1)
    hint = f'; near: {near[0]}' if near else f'; known: {", ".join(COMMANDS)}'
    sys.stderr.write(f'memnet: there is no command {name}{hint}\n')
    return 2


if __name__ == '__main__':
    sys.exit(main())
