"""Keep torch from importing its compiler where nothing is compiled."""
import sys
import types
from contextlib import contextmanager


@contextmanager
def without_compiler():
    """Skip the import of ``torch._dynamo``, which takes longer than that of torch.

    torch imports it to mark functions that must not be compiled, such as those that build an optimizer or compute
    shapes on the device 'meta'. Nothing may be compiled within the ``with`` block; the marks are made later.
    """
    name, marked = 'torch._dynamo', []
    stand_in = types.ModuleType(name)
    stand_in.disable = lambda function, *args, **kwargs: marked.append(function) or function
    if sys.modules.setdefault(name, stand_in) is not stand_in:
        yield
        return
    try:
        yield
    finally:
        del sys.modules[name]
        for function in marked:
            vars(function).pop('__dynamo_disable', None)
