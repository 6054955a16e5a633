import difflib


class UsageError(ValueError):
    """A mistake of the caller (option file, data, checkpoint): one line that says what is wrong, where, what to do.

    The command lines print it without a traceback and exit with status 1.
    """


def near(name, known):
    """Near names as the end of a message.

    Args:
        name (str): What was written.
        known (iterable[str]): What there is.

    Returns:
        str: '; near: a, b', or nothing.
    """
    folded = {str(v).lower(): str(v) for v in known}
    found = [folded[v] for v in difflib.get_close_matches(str(name).lower(), folded, n=3, cutoff=0.6)]
    return f'; near: {", ".join(found)}' if found else ''


def first_line(error):
    """First line of an exception's text, or its class where it has none."""
    return (str(error) or type(error).__name__).splitlines()[0]
