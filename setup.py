from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

import os

try:
    from setuptools.command.editable_wheel import editable_wheel
except ImportError:  # an old setuptools: editable installs go without the start-up file
    editable_wheel = None

AUTOLOAD = 'memnet_basicsr_autoload.pth'
HOOK = '_memnet_basicsr_autoload.py'


class BuildWithAutoload(build_py):
    """Put the start-up file beside the package, so that it lands in site-packages and is uninstalled with it."""

    def run(self):
        super().run()
        if not getattr(self, 'editable_mode', False):
            self.copy_file(AUTOLOAD, os.path.join(self.build_lib, AUTOLOAD))

    def get_source_files(self):
        return super().get_source_files() + [AUTOLOAD]

    def get_outputs(self, *args, **kwargs):
        return super().get_outputs(*args, **kwargs) + [os.path.join(self.build_lib, AUTOLOAD)]


commands = {'build_py': BuildWithAutoload}

if hasattr(editable_wheel, '_select_strategy'):

    class EditableWithAutoload(editable_wheel):
        """Add the start-up file to an editable install (touches a private interface of setuptools)."""

        def _select_strategy(self, *args, **kwargs):
            return WithAutoload(super()._select_strategy(*args, **kwargs))

    class WithAutoload:

        def __init__(self, strategy):
            self.strategy = strategy

        def __enter__(self):
            self.strategy.__enter__()
            return self

        def __exit__(self, *error):
            return self.strategy.__exit__(*error)

        def __call__(self, wheel, *args, **kwargs):
            self.strategy(wheel, *args, **kwargs)
            if hasattr(wheel, 'writestr'):
                for name in (AUTOLOAD, HOOK):  # the hook is copied too: pip compiles it, which halves its start-up cost
                    with open(name, encoding='utf-8') as f:
                        wheel.writestr(name, f.read())
            else:
                print_missing()

    commands['editable_wheel'] = EditableWithAutoload


def print_missing():
    print(f'This setuptools does not let {AUTOLOAD} into an editable install: BasicSR\'s own train.py will not see the '
          'plug-in until you run `python -m memnet_basicsr.plugin.autoload on`.')


def readme():
    with open('README.md', encoding='utf-8') as f:
        return f.read()


if __name__ == '__main__':
    if 'editable_wheel' not in commands:
        print_missing()
    setup(
        name='memnet-basicsr',
        version='0.1.0',
        description='MemNet and MemoryNet for BasicSR: image restoration that trains, resumes and measures well',
        long_description=readme(),
        long_description_content_type='text/markdown',
        keywords='computer vision, image restoration, denoising, deblurring, super-resolution, BasicSR',
        license='Apache-2.0',
        python_requires='>=3.10',
        packages=find_packages(include=('memnet_basicsr', 'memnet_basicsr.*')),
        py_modules=[HOOK[:-len('.py')], '_memnet_basicsr_restore'],
        package_data={'memnet_basicsr': ['weights/*']},
        cmdclass=commands,
        entry_points={'console_scripts': ['memnet-restore = _memnet_basicsr_restore:main']},
        install_requires=[
            'torch>=2.1', 'torchvision', 'basicsr>=1.4.2', 'mmengine', 'lmdb', 'opencv-python', 'numpy', 'pyyaml',
            'matplotlib', 'tqdm', 'packaging', 'safetensors', 'PyWavelets'
        ],
        extras_require={
            'analysis': ['scikit-learn'],  # t-SNE
            # scripts/compare_restorers.py; bm3d is for non-commercial use
            'compare': ['bm3d', 'tabulate'],
            # scikit-image: pictures of the demo and independent checks of metrics
            'tests': ['pytest', 'scikit-image', 'scikit-learn', 'onnx', 'onnxruntime', 'tabulate'],
            'dev': ['ruff', 'yapf', 'isort', 'codespell', 'flake8'],
        },
        classifiers=[
            'Development Status :: 4 - Beta',
            'Operating System :: OS Independent',
            'Programming Language :: Python :: 3',
            'Programming Language :: Python :: 3.10',
            'Programming Language :: Python :: 3.11',
            'Programming Language :: Python :: 3.12',
            'Programming Language :: Python :: 3.13',
        ],
        zip_safe=False)
