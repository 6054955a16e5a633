"""What a forked run does before train.py starts: places where it is stopped."""
import os
import random
import signal
import torch

import tests.test_engine.tiny_runs  # noqa: F401  (its networks)
from memnet_basicsr.engine import checkpoint, validation
from memnet_basicsr.models.restoration_model import RestorationModel

PLACES = {
    'step': (RestorationModel, 'optimize_parameters'),
    'write': (checkpoint.os, 'replace'),
    'networks': (checkpoint, 'write_networks'),
    'state': (checkpoint, 'write_state'),
    'image': (validation.Validation, '_validate_image'),
    'line': (validation, 'append_line'),
    'log': (RestorationModel, 'get_current_log'),
}


def send_signal(place, count, when='before', number=signal.SIGKILL):
    """Signal this process and all that it has started at the count-th call of a function."""
    owner, name = PLACES[place]
    stock, calls = getattr(owner, name), []

    def wrapper(*args, **kwargs):
        calls.append(1)
        if len(calls) == count and when == 'before':
            os.killpg(0, number)
        result = stock(*args, **kwargs)
        if len(calls) == count and when == 'after':
            os.killpg(0, number)
        return result

    setattr(owner, name, wrapper)


def seed(number):
    """What an option file without manual_seed draws from."""
    random.seed(number)


def seed_and_record(number):
    """Also write the seed that the model is told."""
    seed(number)
    stock = RestorationModel.__init__

    def __init__(self, opt):
        with open('seed', 'w') as f:
            f.write(str(opt['manual_seed']))
        stock(self, opt)

    RestorationModel.__init__ = __init__


def record_resumed():
    """Write what a model has right after it was resumed to resumed.pth."""
    stock = RestorationModel.resume_training

    def resume_training(self, state):
        stock(self, state)
        torch.save(
            dict(
                params=self.net_g.state_dict(),
                params_ema=self.net_g_ema.state_dict(),
                optimizer=self.optimizers[0].state_dict(),
                scheduler=checkpoint.plain(self.schedulers[0].state_dict())), 'resumed.pth')

    RestorationModel.resume_training = resume_training


def pause(place, count):
    """Wait for a signal after the count-th call of a function."""
    owner, name = PLACES[place]
    stock, calls = getattr(owner, name), []

    def wrapper(*args, **kwargs):
        result = stock(*args, **kwargs)
        calls.append(1)
        if len(calls) == count:
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})  # none is lost before sigwait
            open('paused', 'w').close()
            os.kill(os.getpid(), signal.sigwait({signal.SIGTERM, signal.SIGINT}))
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM, signal.SIGINT})
        return result

    setattr(owner, name, wrapper)


def fill_disk(name):
    """Writing a checkpoint of that name fails."""
    stock = checkpoint.os.fsync

    def fsync(number):
        if os.path.basename(os.readlink(f'/proc/self/fd/{number}')).startswith(name):
            raise OSError(28, 'No space left on device')
        stock(number)

    checkpoint.os.fsync = fsync


def poison(iteration):
    """The loss of this process is infinite at an iteration, its gradient is not."""
    stock = RestorationModel.compute_losses
    calls = []

    def compute_losses(self, lq, gt):
        calls.append(1)
        losses = stock(self, lq, gt)
        if len(calls) == iteration:
            losses['l_pix'] = losses['l_pix'] + float('inf')
        return losses

    RestorationModel.compute_losses = compute_losses


def double():
    """Train in float64."""
    stock = RestorationModel.feed_data
    build = RestorationModel.model_to_device
    RestorationModel.model_to_device = lambda self, net: build(self, net.double())

    def feed_data(self, data):
        stock(self, data)
        self.lq, self.gt = self.lq.double(), self.gt.double()

    RestorationModel.feed_data = feed_data
