import cv2
import pytest

from scripts import draw_networks


def test_figures_show_every_part_of_the_networks(tmp_path, monkeypatch):
    monkeypatch.setattr('sys.argv', ['draw_networks.py', '--output', str(tmp_path)])
    draw_networks.main()
    for name in draw_networks.FIGURES:
        assert cv2.imread(str(tmp_path / name)).std() > 0


@pytest.mark.parametrize('name', draw_networks.FIGURES)
def test_part_without_a_box_is_an_error(name):
    build, boxes, _, _ = draw_networks.FIGURES[name]
    with pytest.raises(ValueError, match='no box for'):
        draw_networks.check_names(build(), {k: v for k, v in boxes.items() if k not in ('fenet', 'tail')})
