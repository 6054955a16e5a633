"""LMDBs in BasicSR's format: written whole or not at all, read through one environment per path and process."""
import contextlib
import cv2
import hashlib
import itertools
import lmdb
import os
import re
import shutil
from concurrent.futures import ThreadPoolExecutor
from glob import escape, glob
from os import path as osp
from tqdm import tqdm

from basicsr.utils import FileClient
from ..errors import UsageError

_META = 'meta_info.txt'
_SIGNATURE = 'signature.txt'  # ours; BasicSR ignores it
_CHUNK = 64  # images that are encoded side by side and committed together
_clients = {}  # real path -> (process id, FileClient)


def make_key(name):
    """The LMDB key of an image: its relative path without extension, made safe for BasicSR.

    BasicSR cuts the lines of ``meta_info.txt`` at the first dot and encodes keys in ASCII, so that every character but
    ASCII letters, digits, ``-`` and ``_`` becomes ``_``.

    Args:
        name (str): Relative path of the image, with extension.

    Returns:
        str: The key.
    """
    return re.sub(r'[^A-Za-z0-9_-]', '_', osp.splitext(name)[0])


def signature_of(paths, **settings):
    """Digest of the inputs of an LMDB: names, sizes and modification times of the files, and the settings.

    Args:
        paths (list[str]): The files.
        settings: Everything else that determines the content (crop size, color, ...).

    Returns:
        str: Hexadecimal SHA-256.
    """
    digest = hashlib.sha256(repr(sorted(settings.items())).encode())
    for path in sorted(paths):
        info = os.stat(path)
        digest.update(f'{osp.basename(path)}|{info.st_size}|{info.st_mtime_ns}\n'.encode())
    return digest.hexdigest()


def write_lmdb(target, images, signature='', total=None, compress_level=1, overwrite=False, progress=True):
    """Write images into a new LMDB: PNG bytes under their keys and BasicSR's ``meta_info.txt``.

    The LMDB is built in a temporary folder, synced to disk and renamed, so that an existing target is always complete.
    A target with the same signature is kept.

    Args:
        target (str): The LMDB to write; its name ends in ``.lmdb``.
        images (iterable[tuple[str, ndarray]]): Keys and uint8 images, (H, W), (H, W, 1) gray or (H, W, 3) BGR.
            Not consumed if the target is kept.
        signature (str): Digest of the inputs, see :func:`signature_of`. Default: '' (unknown: an existing target is
            never kept).
        total (int | None): Number of images, for the progress bar. Default: None.
        compress_level (int): PNG compression, 0..9. Default: 1.
        overwrite (bool): Whether a target of another signature is replaced. Default: False.
        progress (bool): Whether to show a progress bar. Default: True.

    Returns:
        int: Number of images written; 0 when the target was kept.

    Raises:
        UsageError: The name does not end in ``.lmdb``; the target exists, is of another signature (or no LMDB) and may
            not be replaced; no images; two images with the same key; it cannot be written.
    """
    target = osp.normpath(target)
    if not target.endswith('.lmdb'):
        raise UsageError(f'{target}: the name of an LMDB must end in .lmdb')
    if osp.lexists(target):
        if not osp.isfile(osp.join(target, _META)):
            raise UsageError(f'{target} exists and is not an LMDB of BasicSR; move it away')
        if signature and _is_current(target, signature):
            return 0
        if not overwrite:
            raise UsageError(f'{target} exists and was made from other images or settings; replace it with --overwrite')
    partial = f'{target}.partial-{os.getpid()}'
    try:
        os.makedirs(osp.dirname(target) or '.', exist_ok=True)
        for leftover in glob(f'{escape(target)}.partial-*'):  # of runs that were killed
            shutil.rmtree(leftover)
        os.mkdir(partial)
        count = _fill(partial, images, total, compress_level, progress, osp.basename(target))
        if count == 0:
            raise UsageError(f'{target}: there are no images to write')
        _write_synced(osp.join(partial, _SIGNATURE), signature)
        _sync_folder(partial)
        _put_in_place(partial, target)
    except (lmdb.Error, OSError) as error:
        raise UsageError(f'{target}: cannot be written ({error}); make room or choose another folder') from None
    finally:  # an interrupt too must leave nothing behind
        shutil.rmtree(partial, ignore_errors=True)
    return count


def outcome(path, count):
    """Summary message for a written or reused LMDB.

    Args:
        path (str): The LMDB.
        count (int): Number of images written; 0 if it was up to date.

    Returns:
        str: One line.
    """
    if count:
        return f'wrote {path}: {count} images'
    return f'kept {path}: it is up to date ({len(lmdb_images(path))} images)'


def lmdb_images(path):
    """Keys and shapes of an LMDB's images, in the order of its meta file.

    Args:
        path (str): The LMDB.

    Returns:
        dict[str, tuple[int]]: Key -> (height, width, channels).

    Raises:
        UsageError: Not a folder named ``*.lmdb``, no meta file, a line of it that BasicSR did not write, no image, or
            ``data.mdb`` is damaged or lacks an image.
    """
    if not osp.isdir(path):
        raise UsageError(f'LMDB {path} does not exist; prepare it with `memnet prepare`')
    if not osp.normpath(path).endswith('.lmdb'):
        raise UsageError(f'{path} is not an LMDB (its name does not end in .lmdb); '
                         'for a folder of images write io_backend: {type: disk}')
    if not osp.isfile(osp.join(path, _META)) or not osp.isfile(osp.join(path, 'data.mdb')):
        raise UsageError(f'LMDB {path} is incomplete (no {_META} or data.mdb); '
                         'copy it or prepare it again')
    images = {}
    with open(osp.join(path, _META), 'rb') as f:  # as bytes: a damaged file is no text
        for number, line in enumerate(f, 1):
            line = line.decode('ascii', 'replace')
            match = re.match(r'([^.]+)\.\S+ \((\d+),(\d+),(\d+)\)', line)
            if match is None:
                raise UsageError(f'LMDB {path}, {_META} line {number}: expected "name.png (h,w,c) level"')
            images[match[1]] = tuple(int(v) for v in match.groups()[1:])
    if not images:
        raise UsageError(f'LMDB {path} is empty; prepare it again')
    _check_data(path, images)
    return images


def _check_data(path, images):
    """Find damage when a dataset is opened: reading an LMDB that is too short ends the process with SIGBUS."""
    with _naming(path):
        environment = _environment(_client(path))
        size = (environment.info()['last_pgno'] + 1) * environment.stat()['psize']
        if os.path.getsize(osp.join(path, 'data.mdb')) < size and not _is_readable(path, images):
            raise lmdb.CorruptedError('data.mdb is too short')
        # one by one: a cursor aborts the process at a damaged page; as buffers, which are not read
        with environment.begin(buffers=True) as txn:
            missing = next((v for v in images if txn.get(v.encode('ascii', 'replace')) is None), None)
    if missing:
        raise UsageError(f'LMDB {path} lacks image {missing} of its {_META}; copy it or prepare it again')


def _is_readable(path, images):
    """Read all images in a process that may die: the last pages of a file that is too short may be unused."""
    if not hasattr(os, 'fork'):
        return False
    child = os.fork()
    if not child:
        try:
            os._exit(any(read_lmdb(path, key) is None for key in images))
        finally:  # no exception may leave the child
            os._exit(1)
    return os.waitpid(child, 0)[1] == 0


@contextlib.contextmanager
def _naming(path):
    """Name the LMDB in errors of its library."""
    try:
        yield
    except lmdb.Error as error:
        reason = str(error).removeprefix(f'{osp.realpath(path)}: ').splitlines()[0]
        raise UsageError(f'LMDB {path} is damaged ({reason}); copy it or prepare it again') from None


def read_lmdb(path, key):
    """The bytes of one image, or None where the key is missing.

    lmdb 3 refuses to open one LMDB twice in a process, and a forked worker inherits the list of open ones: datasets
    therefore share one :class:`FileClient` per path and process, and a worker closes what it inherited.

    Args:
        path (str): The LMDB.
        key (str): Key of the image.

    Returns:
        bytes | None: The encoded image.

    Raises:
        UsageError: The LMDB is damaged.
    """
    with _naming(path):
        return _client(path).get(key, 'image')


def close_lmdb(path):
    """Close the environment that :func:`read_lmdb` keeps open for a path, if any.

    Args:
        path (str): The LMDB.
    """
    _, client = _clients.pop(osp.realpath(path), (None, None))
    if client is not None:
        _environment(client).close()


def _client(path):
    path = osp.realpath(path)
    process, client = _clients.get(path, (None, None))
    if process != os.getpid():
        close_lmdb(path)
        client = FileClient('lmdb', db_paths=[path], client_keys=['image'])
        _clients[path] = (os.getpid(), client)
    return client


def _environment(client):
    return client.client._client['image']


def _is_current(target, signature):
    path = osp.join(target, _SIGNATURE)
    if not osp.isfile(path):
        return False
    with open(path, encoding='utf-8') as f:
        if f.read() != signature:
            return False
    with contextlib.suppress(UsageError):  # a damaged one is not current
        return len(lmdb_images(target)) == _environment(_client(target)).stat()['entries']
    return False


def _fill(folder, images, total, compress_level, progress, name):
    """Write data.mdb and the meta file into a folder; return the number of images."""

    def encode(item):
        key, img = item
        done, code = cv2.imencode('.png', img, [cv2.IMWRITE_PNG_COMPRESSION, compress_level])
        if not done:
            raise UsageError(f'image {key}: cannot be encoded as PNG (shape {img.shape}, {img.dtype})')
        return key, img.shape, code.tobytes()

    images = iter(images)
    lines = []
    env = lmdb.open(folder, map_size=1 << 20)
    try:
        with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool, \
                tqdm(total=total, unit='image', desc=name, disable=not progress) as bar:
            while chunk := list(pool.map(encode, itertools.islice(images, _CHUNK))):
                # the map must hold what is there and the chunk: values in whole pages, and room for the tree
                info = env.info()
                page = env.stat()['psize']
                room = sum(len(code) for _, _, code in chunk) + 4 * page * len(chunk) + (1 << 20)
                env.set_mapsize(max(info['map_size'], (info['last_pgno'] + 1) * page + room))
                with env.begin(write=True) as txn:
                    for key, shape, code in chunk:
                        if not txn.put(key.encode('ascii'), code, overwrite=False):
                            raise UsageError(f'{name}: two images have the key {key}; rename one of the files')
                        h, w, c = (*shape, 1)[:3]
                        lines.append(f'{key}.png ({h},{w},{c}) {compress_level}\n')
                bar.update(len(chunk))
        env.sync(True)
    finally:
        env.close()
    _write_synced(osp.join(folder, _META), ''.join(lines))
    return len(lines)


def _put_in_place(partial, target):
    """Rename the finished folder to the target, replacing the old one; at no time is a part of an LMDB visible."""
    old = None
    if osp.lexists(target):
        close_lmdb(target)
        old = f'{target}.partial-{os.getpid()}-old'  # named so that the next run sweeps it
        os.rename(target, old)
    os.rename(partial, target)
    _sync_folder(osp.dirname(target) or '.')
    if old is not None:
        shutil.rmtree(old)


def _write_synced(path, text):
    with open(path, 'w', encoding='utf-8') as f:
        f.write(text)
        f.flush()
        os.fsync(f.fileno())


def _sync_folder(folder):
    if os.name == 'nt':  # Windows cannot open a folder
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
