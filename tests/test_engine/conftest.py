import pytest
import torch

from tests.test_engine.fork_server import ForkServer

torch.set_num_threads(1)


@pytest.fixture(scope='session')
def server():
    server = ForkServer()
    yield server
    server.close()
