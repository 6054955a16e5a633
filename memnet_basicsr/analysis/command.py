import sys

from ..errors import UsageError


def run_command(main):
    """Run a script's main function; a mistake of the caller ends it with one line and status 1, without a traceback.

    Args:
        main (callable): Takes no arguments; raises UsageError where the caller has to mend something.
    """
    try:
        main()
    except UsageError as error:
        sys.exit(f'Error: {error}')
