import difflib


class UsageError(ValueError):
    """User error in an option file, dataset or checkpoint; the message says what is wrong, where, and how to fix it.

    Commands print the message without a traceback. The exit status is 2 for option files and 1 otherwise.
    """


def near(name, known):
    """Format the closest known names as the end of a message.

    Args:
        name (str): Unknown name.
        known (iterable[str]): Valid names.

    Returns:
        str: '; closest match: a, b', or '' if no name is similar.
    """
    folded = {str(v).lower(): str(v) for v in known}
    found = [folded[v] for v in difflib.get_close_matches(str(name).lower(), folded, n=3, cutoff=0.6)]
    return f'; closest match: {", ".join(found)}' if found else ''


def first_line(error):
    """First line of an exception's text, or its class where it has none."""
    return (str(error) or type(error).__name__).splitlines()[0]
