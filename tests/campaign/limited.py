"""Run a script that cannot write files above a size: ``limited.py BYTES SCRIPT [arguments]``, as on a full disk."""
import resource
import runpy
import sys

if __name__ == '__main__':
    size = int(sys.argv[1])
    del sys.argv[:2]
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
    runpy.run_path(sys.argv[0], run_name='__main__')
