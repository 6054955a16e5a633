import math
import pytest
import torch
from hand_made import BLUE, GREEN, RED, ColorNet, make_image

from memnet_basicsr.analysis.memory.addressing import AddressingMap, restore_and_record
from memnet_basicsr.analysis.memory.drawing import draw_addressing, draw_prototypes
from memnet_basicsr.analysis.memory.prototypes import LevelUse, PlaceUse, corner, prototype_use


def test_use_of_hand_made_addressing():
    level = prototype_use(ColorNet(), [{'lq': make_image()}, {'lq': make_image(8, 8)}], num_patches=2, side=4)['part']
    use = level.total()
    assert use.positions == 64 + 16 and list(level.places) == ['only']
    for values in (use.usage(), use.strongest()):
        assert values.tolist() == pytest.approx([.5, .25, .25], abs=1e-6)
    assert use.entropy() == pytest.approx(0, abs=1e-5)
    assert use.information() == pytest.approx(1.5 * math.log(2) / math.log(3), abs=1e-5)  # entropy of 1/2, 1/4, 1/4
    assert not level.dead().any() and torch.equal(level.similarity, torch.eye(3)) and level.mean_similarity() == 0
    for color, patches in zip((RED, GREEN, BLUE), level.patches):
        assert len(patches) == 2
        for patch in patches:
            assert patch.weight == pytest.approx(1) and patch.pixels.shape == (3, 4, 4)
            middle = patch.pixels[:, 1:3, 1:3]  # a patch may cross the border of its color
            assert (middle == color.view(3, 1, 1)).all()


def test_dead_and_constant_addressing():
    image = torch.zeros(3, 8, 8)
    image[0] = 1
    level = prototype_use(ColorNet(), [{'lq': image}])['part']
    assert level.dead().tolist() == [False, True, True] and level.total().information() == pytest.approx(0, abs=1e-6)
    # The same soft weights everywhere carry no information, whatever the entropy is.
    place = PlaceUse()
    place.add(AddressingMap('a', 'part', torch.tensor([.5, .3, .2]).view(3, 1, 1).expand(3, 4, 4), (4, 4), 1.))
    assert place.entropy() > .9 and place.information() == pytest.approx(0, abs=1e-6)


def test_patches_come_from_the_strongest_places_and_do_not_overlap():
    weights = torch.zeros(2, 8, 8)
    weights[0, 1, 6], weights[0, 2, 6], weights[0, 6, 1] = .9, .8, .7
    weights[1] = 1 - weights[0]
    # The image holds its coordinates.
    image = torch.stack(torch.meshgrid(torch.arange(32.), torch.arange(32.), indexing='ij'))
    level = LevelUse(torch.eye(2), 2, 6)
    level.add(AddressingMap('a', 'part', weights, (32, 32), 1.), image, 0)
    first, second = level.patches[0]
    assert [first.weight, second.weight] == pytest.approx([.9, .7])  # .8 overlaps with .9
    # Position (1, 6) of 8 covers pixel (6, 26) of 32.
    assert (first.top, first.left) == (3, 23) and first.pixels[:, 0, 0].tolist() == [3, 23]
    assert (second.top, second.left) == (23, 3)
    level.add(AddressingMap('a', 'part', weights, (32, 32), 1.), image, 1)  # the same patch of another image
    assert [v.image for v in level.patches[0]] == [0, 1] and level.patches[0][1].weight == pytest.approx(.9)
    assert level.total().positions == 128


@pytest.mark.parametrize('point, expected', [((10, 20), (6, 16)), ((0.5, 31.5), (0, 24)), ((31.5, 0.5), (24, 0))])
def test_corner(point, expected):
    assert corner(*point, (32, 32), 8) == expected
    assert corner(*point, (5, 5), 8) == (0, 0)


def test_drawings_show_the_measurements():
    net, found = ColorNet(), []
    level = prototype_use(net, [{'lq': make_image()}], num_patches=2, side=8)['part']
    figure = draw_prototypes('part', level, 'title')
    axes = [axis for axis in figure.axes if axis.get_title().startswith('usage')]
    assert [bar.get_height() for bar in axes[0].patches] == pytest.approx([.5, .25, .25], abs=1e-6)
    net(make_image()[None])
    restored = restore_and_record(net, make_image(), found.append)
    figure = draw_addressing(make_image(), restored, found, 'title', top=2)
    assert len([axis for axis in figure.axes if axis.get_title().startswith('weight of')]) == 2
    assert [v.get_text() for v in figure.axes[2].get_legend().get_texts()] == ['0: 50 %', '1: 25 %', '2: 25 %']
