"""BasicSR's own train.py and test.py, unmodified, after installing the plug-in and with no further step."""
import pytest


def log_of(folder, name='tiny_run'):
    """Text of the training log below a folder that runs are written to."""
    logs = list((folder / 'experiments' / name).glob('train_*.log'))
    assert len(logs) == 1
    return logs[0].read_text()


def iterations(log):
    """Iterations that a log (print_freq 1) tells of."""
    return [
        int(line.split('iter:')[1].split(',')[0]) for line in log.splitlines() if 'epoch:' in line and 'lr:' in line
    ]


@pytest.fixture
def work(tmp_path):
    """Where the user is: another folder than those of the option file, the data and the code."""
    folder = tmp_path / 'work'
    folder.mkdir()
    return folder


def check_run(result, folder):
    assert result.returncode == 0, result.stderr[-3000:]
    log = log_of(folder)
    assert iterations(log) == [1, 2]
    # the banner comes first, and in it the plug-in and its repairs
    head = log[:log.index('name: tiny_run')]
    assert 'memnet_basicsr: 0.1.0' in head
    assert 'Repairs made for BasicSR: ' in head
    assert (folder / 'experiments' / 'tiny_run' / 'models' / 'net_g_latest.pth').is_file()
    return head


def test_train_py_of_site_packages(wheel_environment, options, write_options, images, work):
    """A wheel; runs go below the current directory, TensorBoard's too, and nothing into site-packages."""
    options['logger']['use_tb_logger'] = True
    options['val'] = dict(val_freq=2, save_img=True, metrics=dict(psnr=dict(type='calculate_psnr', crop_border=0)))
    options['datasets']['val'] = dict(name='val', type='NoisyImageDataset', dataroot_gt=str(images), sigma=50,
                                      io_backend=dict(type='disk'))  # yapf: disable
    before = {v for v in wheel_environment.files() if '__pycache__' not in v}
    script = wheel_environment.site_packages / 'basicsr' / 'train.py'
    head = check_run(wheel_environment(script, '-opt', write_options(options), cwd=work), work)
    assert 'row 1: ' in head
    assert {v for v in wheel_environment.files() if '__pycache__' not in v} == before
    assert sorted(v.name for v in work.iterdir()) == ['experiments', 'tb_logger']
    assert list((work / 'tb_logger' / 'tiny_run').glob('events*'))
    assert len(list((work / 'experiments' / 'tiny_run' / 'visualization').rglob('*.png'))) == 11


def test_module_after_editable_install(editable_environment, options, write_options, work):
    """`-m basicsr.train`, with a data loader's worker."""
    options['datasets']['train']['num_worker_per_gpu'] = 1
    check_run(editable_environment('-m', 'basicsr.train', '-opt', write_options(options), cwd=work), work)


def test_unpacked_archive_and_resume(wheel_environment, basicsr_checkout, options, write_options, work):
    """A checkout writes below its own root as ever; --auto_resume finds that (row 7), without a GPU (row 6).

    SRModel, as the repairs are for all. First with the installed basicsr, then with the archive's on PYTHONPATH.
    """
    options.update(model_type='SRModel')
    options['train']['optim_g']['betas'] = [0.9, 0.99]
    options['logger']['save_checkpoint_freq'] = 2
    script = basicsr_checkout / 'basicsr' / 'train.py'
    path = write_options(options)
    check_run(wheel_environment(script, '-opt', path, cwd=work), basicsr_checkout)

    options['train']['total_iter'] = 4
    write_options(options)
    before = set(basicsr_checkout.glob('experiments/tiny_run/*.log'))
    result = wheel_environment(script, '-opt', path, '--auto_resume', cwd=work, PYTHONPATH=basicsr_checkout)
    assert result.returncode == 0, result.stderr[-3000:]
    new, = set(basicsr_checkout.glob('experiments/tiny_run/*.log')) - before
    log = new.read_text()
    assert 'Resuming training from epoch: 0, iter: 2' in log
    assert iterations(log) == [3, 4]
    assert 'row 7: ' in log
    assert not list(work.iterdir())
    assert not list(basicsr_checkout.glob('experiments/*_archived_*'))


def test_torchrun(editable_environment, options, write_options, work):
    """Two processes without a GPU talk by gloo (row 5) and share the batches."""
    script = editable_environment.site_packages / 'basicsr' / 'train.py'
    result = editable_environment('-m', 'torch.distributed.run', '--standalone', '--nproc_per_node=2', script,
                                  '-opt', write_options(options), '--launcher', 'pytorch', cwd=work)  # yapf: disable
    head = check_run(result, work)
    log = log_of(work)
    assert 'World size (gpu number): 2' in log
    assert 'Require iter number per epoch: 3' in log  # 11 images, two processes, two images each
    assert 'row 5: ' in head


def test_without_the_hook(wheel_environment, options, write_options, images, work):
    """`python -m memnet_basicsr.train` and `.test` with the hook switched off write below the current directory."""
    path = write_options(options)
    result = wheel_environment('-m', 'memnet_basicsr.train', '-opt', path, cwd=work, MEMNET_BASICSR_AUTOLOAD='0')
    check_run(result, work)

    test_set = dict(name='images', type='NoisyImageDataset', dataroot_gt=str(images), io_backend=dict(type='disk'),
                    sigma=50)  # yapf: disable
    weights = work / 'experiments' / 'tiny_run' / 'models' / 'net_g_latest.pth'
    test = dict(
        name='tiny_test', model_type='RestorationModel', scale=1, num_gpu=0, manual_seed=0,
        datasets=dict(test_1=test_set), network_g=options['network_g'],
        path=dict(pretrain_network_g=str(weights), strict_load_g=True),
        val=dict(save_img=False, metrics=dict(psnr=dict(type='calculate_psnr', crop_border=0))))  # yapf: disable
    result = wheel_environment('-m', 'memnet_basicsr.test', '-opt', write_options(test, 'test.yml'), cwd=work,
                               MEMNET_BASICSR_AUTOLOAD='0')  # yapf: disable
    assert result.returncode == 0, result.stderr[-3000:]
    log, = (work / 'results' / 'tiny_test').glob('test_*.log')
    assert 'memnet_basicsr: 0.1.0' in log.read_text()
    assert 'psnr: ' in log.read_text()
    assert sorted(v.name for v in work.iterdir()) == ['experiments', 'results']
