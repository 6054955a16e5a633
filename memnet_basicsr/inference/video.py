"""Video files in and out through ffmpeg, frame by frame."""
import json
import numpy as np
import subprocess
import tempfile
import uuid
from os import path as osp

from ..atomic_file import replacing
from ..errors import UsageError

# suffix -> ffmpeg's name of the container
CONTAINERS = {'.mp4': 'mp4', '.m4v': 'mp4', '.mov': 'mov', '.mkv': 'matroska', '.webm': 'webm'}
VIDEO_SUFFIXES = tuple(CONTAINERS)
# The output is BT.709, which players assume for untagged videos too.
COLOR = ['-vf', 'scale=out_color_matrix=bt709:out_range=tv', '-colorspace', 'bt709', '-color_primaries', 'bt709',
         '-color_trc', 'bt709']  # yapf: disable


class Video:
    """A video file to read.

    Args:
        path (str): File.
        max_pixels (int): Largest number of pixels of a frame.

    Raises:
        UsageError: If ffmpeg is not installed, or the file has no video that it can read.
    """

    def __init__(self, path, max_pixels):
        self.path, self.max_pixels = path, max_pixels
        # A playlist that has the suffix of a video must not open addresses.
        self.input = ['-protocol_whitelist', 'file', '-i', f'file:{path}']
        process = _start(['ffprobe', '-v', 'error', '-select_streams', 'v:0', '-of', 'json', '-show_entries',
                          'stream=avg_frame_rate,r_frame_rate:format=duration', *self.input],
                         stdout=subprocess.PIPE, stderr=subprocess.PIPE)  # yapf: disable
        out, error = process.communicate()
        found = json.loads(out or '{}')
        if process.returncode or not found.get('streams'):
            raise UsageError(f'{path}: cannot be read as a video: {_last_line(error)}')
        rates = [found['streams'][0].get(key, '0/0') for key in ('avg_frame_rate', 'r_frame_rate')]
        self.rate = next((v for v in rates if v.split('/')[0] != '0'), '25')
        # Frames at irregular times are repeated or dropped to keep the sound in sync.
        self.timing = ['-fps_mode', 'passthrough'] if rates[0] == rates[1] else ['-r', self.rate]
        top, _, bottom = self.rate.partition('/')
        self.length = max(1, round(float(found['format'].get('duration', 0)) * int(top) / int(bottom or 1)))

    def frames(self):
        """Yield the frames, (H, W, 3) RGB, uint8, upright."""
        command = ['ffmpeg', '-v', 'error', '-nostdin', *self.input, '-map', '0:v:0', *self.timing, '-f',
                   'image2pipe', '-c:v', 'ppm', '-pix_fmt', 'rgb24', '-']  # yapf: disable
        with tempfile.TemporaryFile() as errors, _start(command, stdout=subprocess.PIPE, stderr=errors) as process:
            try:
                while process.stdout.readline():  # P6
                    width, height = map(int, process.stdout.readline().split())
                    if width * height > self.max_pixels:
                        raise UsageError(f'{self.path}: frames of {width * height / 1e6:g} megapixels; the limit is '
                                         f'{self.max_pixels / 1e6:g} (--max_megapixels raises it)')
                    process.stdout.readline()  # 255
                    content = process.stdout.read(width * height * 3)
                    if len(content) == width * height * 3:
                        yield np.frombuffer(content, np.uint8).reshape(height, width, 3)
            finally:
                process.kill()
            errors.seek(0)
            text = errors.read()
        if text:
            raise UsageError(f'{self.path}: is damaged: {_last_line(text)}')

    def write(self, target, frames):
        """Write a video with the rate and the sound of this one; an existing file is replaced at the end.

        Args:
            target (str): File with one of ``VIDEO_SUFFIXES``.
            frames (Iterable[ndarray]): (H, W, 3) RGB, uint8.

        Raises:
            UsageError: If ffmpeg cannot write it.
        """
        folder, name = osp.split(osp.abspath(target))
        temporary = osp.join(folder, f'.{name[:40]}{uuid.uuid4().hex[:8]}.part')
        container = CONTAINERS[osp.splitext(target)[1].lower()]
        with replacing(target, temporary):
            encoder = None
            try:
                for frame in frames:
                    height, width = frame.shape[:2]
                    # 4:2:0 needs even sizes
                    layout = 'yuv444p' if height % 2 or width % 2 else 'yuv420p'
                    encoder = encoder or _start(
                        ['ffmpeg', '-v', 'error', '-y', '-f', 'rawvideo', '-pix_fmt', 'rgb24', '-s',
                         f'{width}x{height}', '-framerate', self.rate, '-i', '-', *self.input, '-map', '0:v', '-map',
                         '1:a?', '-c:a', 'copy', '-crf', '16', *COLOR, '-pix_fmt', layout, '-f', container,
                         f'file:{temporary}'], stdin=subprocess.PIPE, stderr=subprocess.PIPE)  # yapf: disable
                    encoder.stdin.write(np.ascontiguousarray(frame))
                if encoder is None:
                    raise UsageError(f'{self.path}: has no frames')
                error = encoder.communicate()[1]
                fault = error if encoder.returncode else None
            except BrokenPipeError:
                fault = encoder.stderr.read()
            finally:
                if encoder is not None:
                    encoder.kill()
                    encoder.wait()
            if fault is not None:
                raise UsageError(f'{target}: ffmpeg cannot write it: {_last_line(fault)}')


def _start(command, **pipes):
    try:
        return subprocess.Popen(command, **pipes)
    except FileNotFoundError:
        raise UsageError(f'videos need {command[0]}, which is not installed (https://ffmpeg.org)') from None


def _last_line(text):
    return (text.decode(errors='replace').strip().splitlines() or ['no video stream'])[-1]
