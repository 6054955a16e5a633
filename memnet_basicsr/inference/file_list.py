import glob
import os
from dataclasses import dataclass, field
from os import path as osp

from ..errors import UsageError


@dataclass
class FileList:
    """Picture files to work on.

    Args:
        pictures (list[tuple[str]]): Path, and path relative to the folder it was found in, in order. Default: empty.
        skipped (list[str]): Lines about what was left out. Default: empty.
    """
    pictures: list = field(default_factory=list)
    skipped: list = field(default_factory=list)


def list_files(inputs, suffixes, leave_out=None):
    """Find picture files in files, folders (with subfolders) and patterns.

    Links to folders are followed, but no folder is entered twice and no link upwards is followed: circles end.

    Args:
        inputs (list[str]): Files, folders, or patterns such as ``photos/**/*.png``.
        suffixes (tuple[str]): What names of pictures end with, in lower case.
        leave_out (str | None): Folder that is not entered (that of the results). Default: None.

    Returns:
        FileList: The files, and lines about what was left out.

    Raises:
        UsageError: If an input does not exist, or there is no picture at all.
    """
    result = FileList()
    visited = set()
    if leave_out is not None and osp.isdir(leave_out):
        visited.add(osp.realpath(leave_out))
    for name in inputs:
        if osp.isdir(name):
            # the folder itself may be that of the results; only what lies below is left out
            visited.discard(osp.realpath(name))
            _walk(name, suffixes, visited, result)
        elif osp.lexists(name):
            # named one by one, a file counts whatever its name ends with: reading it will tell
            result.pictures.append((name, osp.basename(name)))
        elif glob.has_magic(name):
            _expand(name, suffixes, result)
        else:
            raise UsageError(f'{name}: there is no such file or folder')
    result.pictures = list(dict.fromkeys(result.pictures))
    if not result.pictures:
        raise UsageError(f'{" ".join(inputs)}: no pictures found ({", ".join(suffixes)})')
    return result


def _walk(folder, suffixes, visited, result):
    others = []
    for parent, folders, names in os.walk(folder, followlinks=True):
        visited.add(osp.realpath(parent))
        folders[:] = sorted(v for v in folders if _is_new(osp.join(parent, v), visited, result))
        for name in sorted(names):
            path = osp.join(parent, name)
            if not osp.isfile(path):
                result.skipped.append(f'{path}: skipped, a link that leads nowhere (or not a file)')
            elif name.lower().endswith(suffixes):
                result.pictures.append((path, osp.relpath(path, folder)))
            elif not name.startswith('.'):
                others.append(path)
    _note_others(others, result)


def _is_new(folder, visited, result):
    real = osp.realpath(folder)
    # a link upwards leads back to here
    is_circle = osp.realpath(osp.dirname(folder)).startswith(osp.join(real, ''))
    if osp.islink(folder) and (real in visited or is_circle):
        result.skipped.append(f'{folder}: skipped, a link to a folder that is visited anyway or lies above')
    return not is_circle and real not in visited


def _expand(pattern, suffixes, result):
    base = osp.dirname(pattern[:min(pattern.find(v) for v in '*?[' if v in pattern)])
    paths = sorted(v for v in glob.glob(pattern, recursive=True) if osp.isfile(v))
    result.pictures += [(v, osp.relpath(v, base or '.')) for v in paths if v.lower().endswith(suffixes)]
    _note_others([v for v in paths if not v.lower().endswith(suffixes)], result)


def _note_others(paths, result):
    if paths:
        more = f' and {len(paths) - 3} more' if len(paths) > 3 else ''
        result.skipped.append(f'skipped, not pictures by their names: {", ".join(paths[:3])}{more}')
