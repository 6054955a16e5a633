"""The command ``memnet gui``: a page in the browser that restores images. It is offline and serves this machine only.

Imports only the standard library, so that ``--help`` answers at once.
"""
import argparse
import sys
import time
import zipfile
from os import path as osp

AUTO = 'automatic'


def parse_args(argv):
    """Parse the command line.

    Args:
        argv (list[str]): Arguments.

    Returns:
        argparse.Namespace: Options.
    """
    parser = argparse.ArgumentParser('memnet gui', description='Restore images on a page in the browser.')
    parser.add_argument('--port', type=int, default=7860, help='port on 127.0.0.1. Default: %(default)s')
    parser.add_argument('--device', help='cpu, cuda, cuda:1, ... Default: the GPU if there is one')
    parser.add_argument('--weights', nargs='*', default=[], help='more networks than the bundled ones: files')
    parser.add_argument('--no-browser', action='store_true', help='only print the address')
    return parser.parse_args(argv)


class Session:
    """Restores uploaded files.

    Args:
        device (str | None): Device; None selects the GPU if there is one. Default: None.
    """

    def __init__(self, device=None):
        from memnet_basicsr.inference.bundled import bundled_networks
        self.device, self.bundled, self.restorers = device, bundled_networks(), {}

    def restore(self, path, folder, network=AUTO, strength=1., scale=2):
        """Restore a file.

        Args:
            path (str): File.
            folder (str): Folder of the result.
            network (str): Bundled name or path of weights, or 'automatic'. Default: 'automatic'.
            strength (float): Weight of the output when it is blended with the input, in [0, 1]. Default: 1.
            scale (float): Factor of super-resolution; networks for other tasks ignore it. Default: 2.

        Returns:
            tuple: Path of the result; input and result, (H, W, 3), uint8; and a line about them.

        Raises:
            UsageError: If the file is no image, or cannot be restored.
        """
        from dataclasses import replace

        from memnet_basicsr.inference.batch import eight_bit_rgb, resize_like
        from memnet_basicsr.inference.image_io import output_path, read_image_file, write_image_file
        from memnet_basicsr.inference.input_level import choose_network, level_text, measure
        from memnet_basicsr.inference.restorer import load_restorer
        start = time.perf_counter()
        file = read_image_file(path)
        levels = measure(file)
        reason = ', '.join(level_text(k, v) for k, v in levels.items() if v is not None)
        if network == AUTO:
            network, reason = choose_network(levels, 1 if file.pixels.ndim == 2 else 3, self.bundled)
        pixels = file.pixels
        if network is not None:
            if network not in self.restorers:
                self.restorers[network] = load_restorer(network, device=self.device, tile=512)
            restorer = self.restorers[network]
            restorer.strength = strength
            pixels = restorer(pixels, scale=scale if restorer.description['task'] == 'sr' else None)
        shown = resize_like(file.pixels, pixels)
        target = output_path(osp.join(folder, osp.basename(path)), file)
        alpha = None if file.alpha is None else resize_like(file.alpha, pixels)
        write_image_file(target, replace(file, pixels=pixels, alpha=alpha))
        what = 'copied unchanged' if network is None else f'restored with {osp.basename(network)}'
        text = f'{osp.basename(path)}: {reason}, {what}, {time.perf_counter() - start:.1f} s'
        return target, eight_bit_rgb(shown), eight_bit_rgb(pixels), text


def build_page(session, weights=()):
    """Build the page.

    Args:
        session (Session): What restores.
        weights (list[str]): Paths of further weights. Default: ().

    Returns:
        gradio.Blocks: The page.
    """
    import gradio as gr
    import tempfile

    from memnet_basicsr.errors import UsageError
    from memnet_basicsr.inference.bundled import range_text

    def restore(paths, network, strength, scale, progress=gr.Progress()):  # noqa: B008  (gradio looks for it there)
        if not paths:
            raise gr.Error('Choose one or more images first.')
        folder, results, lines = tempfile.mkdtemp(prefix='memnet'), [], []
        for i, path in enumerate(progress.tqdm(paths, desc='Restoring')):
            try:
                results.append(session.restore(path, osp.join(folder, str(i)), network, strength, scale))
                lines.append(results[-1][-1])
            except (UsageError, OSError, MemoryError, RuntimeError) as error:
                text = str(error).replace(path, osp.basename(path))
                lines.append(f'**{text if osp.basename(path) in text else f"{osp.basename(path)}: {text}"}**')
        if not results:
            raise gr.Error(' '.join(lines).replace('**', ''))
        download = results[0][0]
        if len(paths) > 1:
            download = osp.join(folder, 'restored.zip')
            with zipfile.ZipFile(download, 'w') as archive:
                for target, *_ in results:
                    name = osp.basename(target)
                    archive.write(target, osp.relpath(target, folder) if name in archive.namelist() else name)
        return results[0][1:3], '\n\n'.join(lines), gr.DownloadButton(value=download, interactive=True)

    names = [(f'{name} ({range_text(d) or d["task"]})', name) for name, d in session.bundled.items()]
    with gr.Blocks(title='MemNet', analytics_enabled=False) as page:
        with gr.Row():
            with gr.Column(scale=1):
                files = gr.File(file_count='multiple', label='Images', height=160)
                network = gr.Dropdown([('automatic: noise or JPEG artifacts', AUTO), *names, *weights], value=AUTO,
                                      label='Network')  # yapf: disable
                strength = gr.Slider(0, 1, value=1, step=0.05, label='Strength', info='0 is the input, 1 the output')
                scale = gr.Slider(1, 4, value=2, step=0.5, label='Scale', info='of super-resolution')
                button = gr.Button('Restore', variant='primary')
            with gr.Column(scale=2):
                slider = gr.ImageSlider(label='Input | restored', format='png', buttons=['fullscreen'], max_height=600)
                report = gr.Markdown()
                download = gr.DownloadButton('Download', interactive=False)
        button.click(restore, [files, network, strength, scale], [slider, report, download])
    return page


def main(argv=None):
    """Run the command until it is interrupted.

    Args:
        argv (list[str] | None): Arguments; None reads those of the process. Default: None.

    Returns:
        int: Exit code.
    """
    args = parse_args(argv)
    try:
        import gradio as gr
    except ImportError:
        sys.stderr.write('memnet gui: needs Gradio: pip install "memnet-basicsr[gui]"\n')
        return 1
    page = build_page(Session(args.device), args.weights)
    try:
        # Fonts of the system: the default theme loads its own from the internet.
        page.launch(server_name='127.0.0.1', server_port=args.port, share=False, inbrowser=not args.no_browser,
                    ssr_mode=False, theme=gr.themes.Default(font=['system-ui', 'sans-serif'], font_mono=['monospace'])
                    )  # yapf: disable
    except OSError as error:
        sys.stderr.write(f'memnet gui: {error}\n')
        return 1
    return 0
