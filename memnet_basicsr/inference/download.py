import contextlib
import hashlib
import os
import re
import time
import torch
import urllib.parse
import urllib.request
from http.client import HTTPException
from os import path as osp

from ..errors import UsageError

# seconds without an answer, seconds in total, largest size in bytes
TIMEOUT, TOTAL_TIMEOUT, MAX_SIZE = 30, 3600, 2 * 10**9
BLOCK = 2**16


def download(address, check):
    """Download a weights file once into torch's hub cache.

    A file gets its name in the cache only after its length, the checksum in its name (torch's convention:
    ``name-<first digits of SHA-256>.pth``) and its content were checked.

    Args:
        address (str): http(s) address.
        check (Callable): Called with the path of the file; raises UsageError if the content is wrong.

    Returns:
        str: Path in the cache.

    Raises:
        UsageError: One line with the address, and the cache file where there is one.
    """
    try:
        parts = urllib.parse.urlsplit(address)
    except ValueError as error:
        raise UsageError(f'weights {address!r}: not an address ({error})') from None
    if not address.isprintable():
        raise UsageError(f'weights {address!r}: not an address (control characters)')
    # percent-encoding: addresses with spaces or other alphabets are copied from browsers
    path = urllib.parse.quote(parts.path, safe="/%:@!$&'()*+,;=~")
    query = urllib.parse.quote(parts.query, safe="/%:@!$&'()*+,;=~?")
    encoded = urllib.parse.urlunsplit((parts.scheme, parts.netloc, path, query, ''))
    name = re.sub(r'[^\w.-]', '_', urllib.parse.unquote(osp.basename(parts.path)))[-100:].lstrip('.') or 'weights.pth'
    # the hash tells apart addresses that end with the same file name
    folder = osp.join(torch.hub.get_dir(), 'checkpoints', 'memnet_basicsr',
                      hashlib.sha256(address.encode()).hexdigest()[:8])
    cached = osp.join(folder, name)
    if osp.isfile(cached):
        with contextlib.suppress(UsageError):  # a file that was damaged since is downloaded again
            check(cached)
            return cached
    partial = osp.join(folder, f'partial-{os.getpid()}-{name}')
    try:
        os.makedirs(folder, exist_ok=True)
        _remove_leftovers(folder)
        _fetch(encoded, partial, name)
        check(partial)
        os.replace(partial, cached)
    # URLError and HTTPError are OSErrors; ValueError: the address cannot be used
    except (OSError, HTTPException, ValueError) as error:
        reason = (str(getattr(error, 'reason', error)) or type(error).__name__).splitlines()[0]
        reason = reason.replace(partial, 'the content')
        raise UsageError(f'weights {address}: cannot be downloaded to {cached} ({reason}); without a network, use a '
                         'file or bundled weights') from None
    finally:
        with contextlib.suppress(OSError):
            os.unlink(partial)
    return cached


def _remove_leftovers(folder):
    """Remove partial files of killed downloads: a running one writes at least every ``TIMEOUT`` seconds."""
    for name in os.listdir(folder):
        path = osp.join(folder, name)
        with contextlib.suppress(OSError):
            if name.startswith('partial-') and time.time() - osp.getmtime(path) > 2 * TIMEOUT:
                os.unlink(path)


class _SafeRedirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects to https, and from http to http, but to nothing else."""

    def redirect_request(self, req, fp, code, msg, headers, newurl):
        scheme = urllib.parse.urlsplit(newurl).scheme
        if scheme != 'https' and scheme != req.type:
            raise ValueError(f'redirect from {req.type} to {scheme} refused')
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _fetch(address, path, name):
    request = urllib.request.Request(address, headers={'User-Agent': 'memnet_basicsr'})
    digest, size, end = hashlib.sha256(), 0, time.monotonic() + TOTAL_TIMEOUT
    with urllib.request.build_opener(_SafeRedirects).open(request, timeout=TIMEOUT) as response, open(path, 'wb') as f:
        length = response.headers.get('Content-Length')
        expected = int(length) if length and length.isdigit() else None
        # read1: what has arrived, so that a server that sends a byte now and then runs into the limit, too
        while block := response.read1(BLOCK):
            size += len(block)
            if max(size, expected or 0) > MAX_SIZE:
                raise ValueError(f'larger than {MAX_SIZE / 1e9:g} GB')
            if time.monotonic() > end:
                raise ValueError(f'not finished after {TOTAL_TIMEOUT} s')
            digest.update(block)
            f.write(block)
    if expected is not None and size != expected:
        raise ValueError(f'{size} bytes received instead of {expected}')
    checksum = re.search(r'-([a-f0-9]{8,})\.', name)
    if checksum and not digest.hexdigest().startswith(checksum.group(1)):
        raise ValueError(f'SHA-256 is {digest.hexdigest()[:8]}... instead of {checksum.group(1)}')
