import pytest
import yaml
from example_options import options
from pathlib import Path

from basicsr.archs import build_network
from memnet_basicsr.analysis.ablation.plan import Variant, merged, options_of_run, read_variants
from memnet_basicsr.analysis.ablation.report import Row, find_baseline
from memnet_basicsr.errors import UsageError
from memnet_basicsr.plugin.check import check_options

FOLDER = Path(__file__).parents[3] / 'options' / 'ablation'
PLANS = sorted(FOLDER.glob('memory_*.yml'))
OTHER_PLANS = [*sorted(FOLDER.glob('paper_*.yml')), *sorted(FOLDER.glob('mixture*.yml'))]


@pytest.fixture
def write(tmp_path):

    def write(name, content):
        path = tmp_path / name
        path.write_text(yaml.safe_dump(content, sort_keys=False))
        return str(path)

    return write


def test_plan(write):
    write('base.yml', options())
    path = write('plan.yml', dict(option_file='base.yml', variants=dict(
        first=None, second=dict(network_g=dict(num_feat=8), train=dict(recording_iter=None)),
        third=dict(like='second', network_g=dict(num_block=2)))))  # yapf: disable
    first, second, third = read_variants([path])
    assert [v.label for v in (first, second, third)] == ['first', 'second', 'third']
    assert first.opt['network_g'] == options()['network_g']
    assert second.opt['network_g'] == dict(type='MemNet', num_feat=8, num_block=1, num_recursion=1)
    assert 'recording_iter' not in second.opt['train'] and 'recording_iter' in first.opt['train']
    assert third.opt['network_g'] == dict(type='MemNet', num_feat=8, num_block=2, num_recursion=1)
    assert third.run_name(2) == 'plan_third_seed2'


def test_option_files_are_a_group(write):
    variants = read_variants([write('train_a.yml', options()), write('train_b.yml', options())])
    assert [(v.group, v.label) for v in variants] == [('', 'train_a'), ('', 'train_b')]


def test_incomparable_variants_are_refused(write):
    other = options()
    other['datasets']['train']['batch_size_per_gpu'] = 4
    with pytest.raises(UsageError, match='train_b and train_a differ in datasets and cannot be compared'):
        read_variants([write('train_a.yml', options()), write('train_b.yml', other)])
    with pytest.raises(UsageError, match='total_iter'):
        read_variants([write('train_a.yml', options()), write('train_b.yml', options(total_iter=5))])


@pytest.mark.parametrize('variants, message', [
    (dict(a=dict(network_g=dict(num_feet=None))),
     'num_feet: does not exist and cannot be removed; closest match: num_feat'),
    (dict(a=dict(like='b'), b=None), 'no earlier variant b'),
    ([1], 'must hold only option_file: and variants:'),
])  # yapf: disable
def test_invalid_plans(write, variants, message):
    write('base.yml', options())
    with pytest.raises(UsageError, match=message):
        read_variants([write('plan.yml', dict(option_file='base.yml', variants=variants))])


def test_merging_does_not_change_the_original():
    opt = options()
    assert merged(opt, dict(val=None), '')['train'] is not opt['train'] and 'val' in opt


def test_length_scales_schedules(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    opt = options()
    opt['path']['pretrain_network_memory'] = 'experiments/other_seed{seed}/net.pth'
    opt = options_of_run(Variant('plan', 'a', opt), 3, 200)
    assert opt['name'] == 'plan_a_seed3' and opt['manual_seed'] == 3
    assert opt['train']['total_iter'] == 200 and opt['train']['recording_iter'] == 20
    assert opt['train']['scheduler'] == dict(type='CosineAnnealingRestartLR', periods=[200])
    assert opt['train']['warmup_iter'] == 10
    assert opt['val']['val_freq'] == 200 and opt['datasets']['train']['num_worker_per_gpu'] == 0
    assert opt['datasets']['train']['dataroot_gt'] == str(tmp_path / 'data' / 'gt.lmdb')
    assert opt['path']['pretrain_network_memory'] == 'experiments/other_seed3/net.pth'
    lists = options(scheduler=dict(type='MultiStepLR', milestones=[500, 750]))
    assert options_of_run(Variant('', 'a', lists), 0, 100)['train']['scheduler']['milestones'] == [50, 75]


@pytest.mark.parametrize('path', [*PLANS, *OTHER_PLANS], ids=lambda p: p.stem)
def test_plans_of_the_repository_are_valid(path, tmp_path):
    variants = read_variants([str(path)])
    baseline = 'widened' if path in PLANS else 'backbone'
    assert path.read_text().startswith('# ') and find_baseline([Row(v.label, {}, 0, 0) for v in variants], baseline)
    for variant in variants:
        opt = options_of_run(variant, 0, 100)
        for block in opt['datasets'].values():
            for key in [k for k in block if k.startswith('dataroot_')]:
                block[key] = str(tmp_path / 'data.lmdb')
        (tmp_path / 'data.lmdb').mkdir(exist_ok=True)
        (tmp_path / 'data.lmdb' / 'meta_info.txt').touch()
        assert check_options(opt) == []


@pytest.mark.parametrize('path', PLANS, ids=lambda p: p.stem)
def test_widened_backbone_matches_the_parameters_of_the_memory(path):
    variants = {v.label: v.opt['network_g'] for v in read_variants([str(path)])}
    count = {k: sum(p.numel() for p in build_network(v).parameters()) for k, v in variants.items()}
    assert count['memory'] <= count['widened'] <= 1.005 * count['memory']
    assert (count['backbone'], count['widened'], count['memory']) == (99301, 103987, 103724)
