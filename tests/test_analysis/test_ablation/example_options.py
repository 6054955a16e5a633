"""Options of a small training run."""


def options(**train):
    return dict(
        name='x',
        model_type='RestorationModel',
        num_gpu=0,
        manual_seed=7,
        datasets=dict(train=dict(type='A', dataroot_gt='data/gt.lmdb', num_worker_per_gpu=3, batch_size_per_gpu=2)),
        network_g=dict(type='MemNet', num_feat=4, num_block=1, num_recursion=1),
        path=dict(pretrain_network_g=None),
        train=dict(
            dict(
                total_iter=1000,
                recording_iter=100,
                warmup_iter=50,
                scheduler=dict(type='CosineAnnealingRestartLR', periods=[1000])), **train),
        val=dict(val_freq=100, save_img=True),
        logger=dict(print_freq=1, save_checkpoint_freq=1, use_tb_logger=True))
