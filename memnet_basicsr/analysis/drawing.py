"""Figures as PNG files. matplotlib is imported on first use because training does not need it."""
import io
import textwrap

from ..atomic_file import write_atomically
from ..errors import UsageError

COLORS = ('#0072b2', '#e69f00', '#009e73', '#cc79a7', '#56b4e9', '#d55e00')  # distinguishable by color-blind readers
DPI = 100  # a width of 10 inches is 1000 pixels


def check_output(path):
    """Check the name of a figure before a long computation.

    Args:
        path (str): File to write.

    Raises:
        UsageError: If the name does not end with .png.
    """
    if not path.lower().endswith('.png'):
        raise UsageError(f'output {path}: figures are PNG files; use a name that ends with .png')


def new_figure(width, height):
    """Create a figure without pyplot's global state and without a display.

    Args:
        width (float): Inches.
        height (float): Inches.

    Returns:
        matplotlib.figure.Figure: The figure.
    """
    from matplotlib.figure import Figure
    return Figure(figsize=(width, height), dpi=DPI, layout='constrained')


def write_figure(figure, path):
    """Write a figure atomically.

    Args:
        figure (matplotlib.figure.Figure): The figure.
        path (str): PNG file; missing parent folders are created.

    Raises:
        UsageError: If the name does not end with .png.
        OSError: If the file cannot be written.
    """
    check_output(path)
    buffer = io.BytesIO()
    figure.savefig(buffer, format='png')
    write_atomically(path, buffer.getvalue())


def set_title(figure, text):
    """Set the title of a whole figure, wrapped to its width."""
    figure.suptitle('\n'.join(textwrap.fill(v, int(11 * figure.get_figwidth())) for v in text.split('\n')), fontsize=11)
