from .training_figures import training_figures

__all__ = ['training_figures']
