from .bundled import bundled_networks
from .inference import Inference
from .restorer import Restorer, load_restorer

__all__ = ['Inference', 'Restorer', 'bundled_networks', 'load_restorer']
