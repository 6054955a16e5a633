class UsageError(ValueError):
    """A mistake of the caller (option file, data, checkpoint): one line that says what is wrong, where, what to do.

    The command lines print it without a traceback and exit with status 1.
    """
