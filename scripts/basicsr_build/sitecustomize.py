"""Repairs BasicSR's setup.py while pip builds it on Python 3.13 and newer.

There ``exec`` no longer writes into a function's ``locals()``, so that its ``get_version`` ends with ``KeyError:
'__version__'``. pip runs the build in the unpacked source; with this folder on ``PYTHONPATH`` and
``--no-build-isolation`` the line is mended on disk before it is run.
"""
import os

BROKEN = """        exec(compile(f.read(), version_file, 'exec'))
    return locals()['__version__']"""
MENDED = """        scope = {}
        exec(compile(f.read(), version_file, 'exec'), scope)
    return scope['__version__']"""

if os.path.isfile('setup.py') and os.path.isdir('basicsr'):
    with open('setup.py', encoding='utf-8') as f:
        text = f.read()
    if BROKEN in text:
        with open('setup.py', 'w', encoding='utf-8') as f:
            f.write(text.replace(BROKEN, MENDED))
