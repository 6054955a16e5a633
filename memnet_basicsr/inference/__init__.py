from .inference import Inference
from .restorer import Restorer, load_restorer

__all__ = ['Inference', 'Restorer', 'load_restorer']
