import numpy as np
import pytest
import re

from memnet_basicsr.analysis.ablation.report import Row, draw, find_baseline, holm, interval, paired, table
from memnet_basicsr.errors import UsageError


def row(label, values):
    state = dict(cpu_seconds=2., finished=True)
    run = type('Run', (), dict(state=lambda self: state))()
    return Row(label, dict.fromkeys(values, run), 1234, 5e9, {('psnr', 'val'): values}, dict(entropy_part=.5))


def test_interval_against_a_table():
    # Student's t for 4 degrees of freedom is 2.7764
    differences = [.1, .3, .2, .4, .0]
    half = 2.7764 * np.sqrt(.025) / np.sqrt(5)
    assert interval(differences) == pytest.approx((.2 - half, .2 + half), abs=1e-5)
    assert interval([.5, .5]) == (.5, .5)


def test_adjusted_p_values_against_published_example():
    # p.adjust(c(0.01, 0.02, 0.03, 0.04, 0.05), 'holm') of R
    found = holm(dict(c=.03, a=.01, b=.02, e=.05, d=.04))
    assert [found[v] for v in 'abcde'] == pytest.approx([.05, .08, .09, .09, .09])


def test_an_interval_above_zero_may_not_hold_for_many_variants():
    steps = {0: .1, 1: .3, 2: .2, 3: .4}  # t = 3.87, p = 0.0305
    rows = [row('backbone', dict.fromkeys(steps, 20.)), *(row(v, {k: 20 + d for k, d in steps.items()}) for v in 'ab')]
    text = re.sub(' +', ' ', table('plan', rows, rows[0]))
    assert '| a | psnr | 4 | +0.250 | +0.045 to +0.455 | 0.061 | above zero, **but not after adjustment** |' in text
    assert '| 0.030 | above zero |' in re.sub(' +', ' ', table('plan', rows[:2], rows[0]))


def test_differences_are_paired_by_seed():
    one, two = row('a', {0: 20., 1: 30., 2: 25.}), row('b', {2: 26., 1: 30.5})
    assert paired(two, one, ('psnr', 'val')) == [.5, 1.]


def test_table_and_plot():
    rows = [row('backbone', {0: 20., 1: 30., 2: 25.}), row('memory', {0: 20.5, 1: 30.5, 2: 25.6}),
            row('shuffled', {0: 20.5, 1: 29., 2: 25.1}), row('once', {0: 21.})]  # yapf: disable
    text = table('plan', [*rows, Row('never', {}, 1, 1)], find_baseline(rows, 'backbone'))
    text = re.sub(' +', ' ', text)
    assert '| backbone | 3 | 1,234 | 5.000 G | 2 | 25.000 ± 5.000 |' in text
    assert '| memory | psnr | 3 | +0.533 | +0.390 to +0.677 | 0.008 | above zero |' in text
    assert '| shuffled | psnr | 3 | -0.133 | -2.063 to +1.796 | 0.794 | **includes zero** |' in text
    assert '| once | psnr | 1 | +1.000 | | | no interval for one seed |' in text
    assert '| memory | 0.500 |' in text and 'No finished run: never.' in text
    figure = draw('plan', rows, rows[0])
    assert len(figure.axes) == 2 and len(figure.axes[0].get_yticklabels()) == 4


def test_baseline_by_the_end_of_its_name():
    rows = [Row(v, {}, 0, 0) for v in ('train_RICE1_widened', 'train_RICE1_memory')]
    assert find_baseline(rows, 'widened') is rows[0]
    with pytest.raises(UsageError, match='0 variants'):
        find_baseline(rows, 'wide')
