from .forms import inference, training

__all__ = ['inference', 'training']
