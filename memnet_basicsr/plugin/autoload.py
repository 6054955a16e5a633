"""Switch the start-up hook: ``python -m memnet_basicsr.plugin.autoload on|off|status``.

The hook is a line in ``memnet_basicsr_autoload.pth`` in site-packages. Its file is edited, not deleted, and is in the
list of installed files, so that uninstalling finds it.
"""
import argparse
import importlib.metadata
import os
import sys
from pathlib import Path

from ..atomic_file import write_atomically
from ..errors import UsageError

NAME = 'memnet_basicsr_autoload.pth'
# Content of the file, repeated here because switching off overwrites it; a test compares the two.
LINE = ('import sys; exec("try:\\n import _memnet_basicsr_autoload\\n _memnet_basicsr_autoload.install()\\n'
        'except Exception: pass")\n')
OFF = '# switched off; `python -m memnet_basicsr.plugin.autoload on` switches it on\n'


def pth_file():
    """Path of the start-up file and of the distribution's list of installed files.

    Returns:
        tuple[Path]: Path of the .pth and of RECORD.

    Raises:
        UsageError: The plug-in is not installed in this environment.
    """
    # a build leaves an egg-info in the project's folder, which `python -m` finds first when it is run there
    for distribution in importlib.metadata.distributions(name='memnet-basicsr'):
        for file in distribution.files or ():
            if file.name == 'RECORD':
                record = Path(distribution.locate_file(file))
                return record.parent.parent / NAME, record
    raise UsageError('memnet-basicsr is not installed by pip in this environment: pip install .')


def switch(on):
    """Write the start-up file atomically."""
    path, record = pth_file()
    write_atomically(path, (LINE if on else OFF).encode())
    lines = record.read_text(encoding='utf-8')
    if not any(line.split(',')[0] == NAME for line in lines.splitlines()):
        record.write_text(f'{lines}{NAME},,\n', encoding='utf-8')


def status():
    """Location of the start-up file and whether it is active.

    Returns:
        str: One line.
    """
    path, _ = pth_file()
    if not path.is_file():
        state = 'off (no start-up file)'
    else:
        state = 'on' if path.read_text(encoding='utf-8') == LINE else 'off'
    if state == 'on' and os.environ.get('MEMNET_BASICSR_AUTOLOAD') == '0':
        state = 'on, but MEMNET_BASICSR_AUTOLOAD=0 is set'
    return f'autoload is {state}: {path}'


def main():
    parser = argparse.ArgumentParser(
        prog='python -m memnet_basicsr.plugin.autoload', description=__doc__.splitlines()[0])
    parser.add_argument('action', choices=('on', 'off', 'status'))
    action = parser.parse_args().action
    try:
        if action != 'status':
            switch(action == 'on')
        sys.stdout.write(f'{status()}\n')
    except (UsageError, OSError) as error:
        sys.exit(f'error: {error}')


if __name__ == '__main__':
    main()
