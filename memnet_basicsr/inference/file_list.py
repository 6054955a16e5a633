import glob
import os
from dataclasses import dataclass, field
from os import path as osp

from ..errors import UsageError


@dataclass
class FileList:
    """Image files to process.

    Args:
        images (list[tuple[str]]): Path, and path relative to the folder it was found in, in order. Default: empty.
        skipped (list[str]): A message for each path that was skipped. Default: empty.
    """
    images: list = field(default_factory=list)
    skipped: list = field(default_factory=list)


def list_files(inputs, suffixes, leave_out=None):
    """Find image files in files, folders (with subfolders) and patterns.

    Links to folders are followed, but no folder is entered twice, and links to a parent folder are not followed.

    Args:
        inputs (list[str]): Files, folders, or patterns such as ``photos/**/*.png``.
        suffixes (tuple[str]): Suffixes of images, in lower case.
        leave_out (str | None): Folder that is not entered, such as that of the outputs. Default: None.

    Returns:
        FileList: The files, and messages about what was skipped.

    Raises:
        UsageError: If an input does not exist, or there is no image.
    """
    result = FileList()
    visited = set()
    if leave_out is not None and osp.isdir(leave_out):
        visited.add(osp.realpath(leave_out))
    for name in inputs:
        if osp.isdir(name):
            # an input folder is entered even if it is also the output folder; only subfolders are left out
            visited.discard(osp.realpath(name))
            _walk(name, suffixes, visited, result)
        elif osp.lexists(name):
            # files that are named explicitly need no known suffix; reading them shows what they are
            result.images.append((name, osp.basename(name)))
        elif glob.has_magic(name):
            _expand(name, suffixes, result)
        else:
            raise UsageError(f'{name}: there is no such file or folder')
    result.images = list(dict.fromkeys(result.images))
    if not result.images:
        raise UsageError(f'{" ".join(inputs)}: no images found ({", ".join(suffixes)})')
    return result


def _walk(folder, suffixes, visited, result):
    others = []
    for parent, folders, names in os.walk(folder, followlinks=True):
        visited.add(osp.realpath(parent))
        folders[:] = sorted(v for v in folders if _is_new(osp.join(parent, v), visited, result))
        for name in sorted(names):
            path = osp.join(parent, name)
            if not osp.isfile(path):
                result.skipped.append(f'{path}: skipped, a dangling link or not a file')
            elif name.lower().endswith(suffixes):
                result.images.append((path, osp.relpath(path, folder)))
            elif not name.startswith('.'):
                others.append(path)
    _note_others(others, result)


def _is_new(folder, visited, result):
    real = osp.realpath(folder)
    # a link to a parent folder leads back to here
    is_circle = osp.realpath(osp.dirname(folder)).startswith(osp.join(real, ''))
    if osp.islink(folder) and (real in visited or is_circle):
        result.skipped.append(f'{folder}: skipped, a link to a folder that is visited anyway or is a parent folder')
    return not is_circle and real not in visited


def _expand(pattern, suffixes, result):
    base = osp.dirname(pattern[:min(pattern.find(v) for v in '*?[' if v in pattern)])
    paths = sorted(v for v in glob.glob(pattern, recursive=True) if osp.isfile(v))
    result.images += [(v, osp.relpath(v, base or '.')) for v in paths if v.lower().endswith(suffixes)]
    _note_others([v for v in paths if not v.lower().endswith(suffixes)], result)


def _note_others(paths, result):
    if paths:
        more = f' and {len(paths) - 3} more' if len(paths) > 3 else ''
        result.skipped.append(f'skipped, no suffix of an image: {", ".join(paths[:3])}{more}')
