"""Patch BasicSR's setup.py while pip builds it on Python 3.13 and later.

There, ``exec`` no longer writes to the ``locals()`` of a function, so ``get_version`` fails with ``KeyError:
'__version__'``. pip runs the build in the unpacked source. With this folder on ``PYTHONPATH`` and
``--no-build-isolation``, setup.py is patched on disk before it runs.
"""
import os

BROKEN = """        exec(compile(f.read(), version_file, 'exec'))
    return locals()['__version__']"""
FIXED = """        scope = {}
        exec(compile(f.read(), version_file, 'exec'), scope)
    return scope['__version__']"""

if os.path.isfile('setup.py') and os.path.isdir('basicsr'):
    with open('setup.py', encoding='utf-8') as f:
        text = f.read()
    if BROKEN in text:
        with open('setup.py', 'w', encoding='utf-8') as f:
            f.write(text.replace(BROKEN, FIXED))
