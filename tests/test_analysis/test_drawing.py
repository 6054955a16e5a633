import cv2
import os
import pytest

from memnet_basicsr.analysis import drawing
from memnet_basicsr.errors import UsageError


def figure():
    figure = drawing.new_figure(10, 3)
    figure.subplots().plot([0, 1], [0, 1])
    return figure


def test_writes_a_png_of_1000_pixels(tmp_path):
    path = tmp_path / 'new folder' / 'figure.png'
    drawing.write_figure(figure(), str(path))
    assert cv2.imread(str(path)).shape == (300, 1000, 3)
    assert os.listdir(path.parent) == ['figure.png']


def test_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / 'figure.png'
    path.write_text('precious')

    def fail(*args):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(os, 'replace', fail)
    with pytest.raises(OSError, match='No space left'):
        drawing.write_figure(figure(), str(path))
    assert path.read_text() == 'precious' and os.listdir(tmp_path) == ['figure.png']


def test_other_formats_are_refused(tmp_path):
    with pytest.raises(UsageError, match='PNG'):
        drawing.write_figure(figure(), str(tmp_path / 'figure.pdf'))
