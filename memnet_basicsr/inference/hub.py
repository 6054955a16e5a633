"""Weights on the Hugging Face Hub: a repository holds ``model.safetensors``, which has its description, and a card.

``load_restorer('hub:owner/name')`` and ``memnet-restore --weights hub:owner/name`` download them.
"""
import os
import tempfile
import textwrap
from os import path as osp

from ..atomic_file import write_atomically
from ..errors import UsageError
from .bundled import range_text
from .weights import HUB_FILE, find_weights, read_weights, write_weights

TASKS = {'denoise': 'removes noise', 'jpeg': 'removes JPEG artifacts', 'sr': 'enlarges images', 'restore': 'restores'}
CARD = """---
{data}
---
# {title}

{network} that {task}, made with memnet_basicsr.{range}

```
pip install "memnet-basicsr[hub]"
memnet restore -i photos/ -o restored/ --weights hub:{repo}
```

```python
from memnet_basicsr import load_restorer
out = load_restorer('hub:{repo}')(img)
```
"""


def hub_weights(name):
    """Download weights from the Hub, once; the Hub's cache is used offline.

    Args:
        name (str): ``owner/name`` or ``owner/name@revision``.

    Returns:
        str: Path of the weights file.

    Raises:
        UsageError: If huggingface_hub is not installed, or there is no such repository, revision or file.
    """
    repo, _, revision = name.partition('@')
    try:
        return _hub().hf_hub_download(repo, HUB_FILE, revision=revision or None, library_name='memnet_basicsr')
    except (OSError, ValueError) as error:
        raise UsageError(f'weights hub:{name}: {_text(error)}') from None


def from_pretrained(name, **options):
    """Load a restorer from the Hub or from a folder of :func:`save_pretrained`.

    Args:
        name (str): Folder, ``owner/name`` or ``owner/name@revision``.
        options: Arguments of :func:`load_restorer`: device, precision, tile, ...

    Returns:
        Restorer: Maps images to restored images.

    Raises:
        UsageError: As :func:`load_restorer`.
    """
    from .restorer import load_restorer
    return load_restorer(name if osp.isdir(name) else f'hub:{name}', **options)


def save_pretrained(weights, folder, repo=None, license='other'):
    """Write ``model.safetensors`` and a model card.

    Args:
        weights (str): Bundled name, path or address of weights, see :func:`find_weights`.
        folder (str): Folder.
        repo (str | None): ``owner/name``, for the examples in the card; None takes the name of the folder.
            Default: None.
        license (str): Identifier of the license of the weights, as the Hub names it. Default: 'other'.

    Raises:
        UsageError: If the weights cannot be read.
        OSError: If the folder cannot be written.
    """
    params, description = read_weights(find_weights(weights))
    os.makedirs(folder, exist_ok=True)
    write_weights(osp.join(folder, HUB_FILE), params, description)
    card = model_card(description, repo or f'owner/{osp.basename(osp.abspath(folder))}', license)
    write_atomically(osp.join(folder, 'README.md'), card.encode())


def push_to_hub(weights, repo, private=False, token=None, license='other'):
    """Upload weights and their card to the Hub; the repository is created if it does not exist.

    Args:
        weights (str): Bundled name, path or address of weights, see :func:`find_weights`.
        repo (str): ``owner/name``.
        private (bool): Whether a new repository is private. Default: False.
        token (str | None): Access token; None takes that of ``hf auth login``. Default: None.
        license (str): Identifier of the license of the weights, as the Hub names it. Default: 'other'.

    Returns:
        str: Address of the commit.

    Raises:
        UsageError: If huggingface_hub is not installed, the weights cannot be read, or the Hub refuses.
    """
    api = _hub().HfApi(token=token, library_name='memnet_basicsr')
    with tempfile.TemporaryDirectory() as folder:
        save_pretrained(weights, folder, repo, license)
        try:
            api.create_repo(repo, private=private, exist_ok=True)
            return api.upload_folder(repo_id=repo, folder_path=folder, commit_message='Upload weights').commit_url
        except (OSError, ValueError) as error:
            raise UsageError(f'hub:{repo}: {_text(error)}') from None


def model_card(description, repo, license='other'):
    """Text of a model card, from the description in the weights.

    Args:
        description (dict): See :func:`describe`.
        repo (str): ``owner/name``, for the examples.
        license (str): Identifier of the license of the weights. Default: 'other'.

    Returns:
        str: Markdown with a YAML header.
    """
    network, task = description['network_g']['type'], description['task']
    data = _hub().ModelCardData(
        library_name='memnet_basicsr', license=license, pipeline_tag='image-to-image',
        tags=[network, 'image-restoration', task])  # yapf: disable
    valid = range_text(description) or ', '.join(f'x{v:g}' for v in description.get('scale', ()))
    text = CARD.format(data=data.to_yaml(), title=repo.split('/')[-1], network=network, task=TASKS[task], repo=repo,
                       range=f' Valid range: {valid}.' if valid else '')  # yapf: disable
    if description.get('metrics'):
        rows = [f'| {name} | {value:g} |' for name, value in description['metrics'].items()]
        text += '\n'.join(['\n## Figures\n', '| metric | value |', '|---|---|', *rows, ''])
    return text + f'\n## Training images and terms\n\n{description.get("note", "Not stated.")}\n'


def _text(error):
    return textwrap.shorten(str(error) or type(error).__name__, 300)


def _hub():
    try:
        import huggingface_hub
    except ImportError:
        raise UsageError('the Hub needs huggingface_hub: pip install "memnet-basicsr[hub]"') from None
    return huggingface_hub
