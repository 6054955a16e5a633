from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

import os
from glob import glob

AUTOLOAD = 'memnet_basicsr_autoload.pth'
HOOK = '_memnet_basicsr_autoload.py'
# option files and scripts, which a wheel has inside the package (see memnet_basicsr/plugin/shipped.py)
SHIPPED = sorted(
    glob('options/**/*.yml', recursive=True) + glob('scripts/data_preparation/*.py') +
    glob('scripts/basicsr_build/*.py'))


class BuildWithAutoload(build_py):
    """Put the start-up file beside the package, so that it lands in site-packages and is uninstalled with it.

    Option files and scripts go into the package; an editable install finds them in its clone.

    In an editable install setuptools packs what lies in the ``install`` command's library folder. The hook is copied
    there too: pip compiles it, which halves its start-up cost.
    """

    def run(self):
        super().run()
        if getattr(self, 'editable_mode', False):
            folder = self.get_finalized_command('install').install_lib
            for name in (AUTOLOAD, HOOK):
                self.copy_file(name, os.path.join(folder, name))
        else:
            for source, target in self.beside():
                self.mkpath(os.path.dirname(target))
                self.copy_file(source, target)

    def beside(self):
        """Files that are not in the package's folder, and where they go."""
        shipped = os.path.join(self.build_lib, 'memnet_basicsr', 'shipped')
        return [(AUTOLOAD, os.path.join(self.build_lib, AUTOLOAD)), *((v, os.path.join(shipped, v)) for v in SHIPPED)]

    def get_source_files(self):
        return super().get_source_files() + [source for source, _ in self.beside()]

    def get_outputs(self, *args, **kwargs):
        return super().get_outputs(*args, **kwargs) + [target for _, target in self.beside()]


def readme():
    with open('README.md', encoding='utf-8') as f:
        return f.read()


if __name__ == '__main__':
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
        py_modules=[HOOK[:-len('.py')], '_memnet_basicsr_command'],
        package_data={'memnet_basicsr': ['weights/*', 'options.schema.json', 'NOTICE']},
        cmdclass={'build_py': BuildWithAutoload},
        entry_points={
            'console_scripts':
            ['memnet = _memnet_basicsr_command:main', 'memnet-restore = _memnet_basicsr_command:restore']
        },
        install_requires=[
            'torch>=2.6',  # before, torch.load(weights_only=True) can be made to execute code (CVE-2025-32434)
            'torchvision',
            'basicsr>=1.4.2; python_version < "3.13"',
            'mmengine',
            'lmdb',
            'opencv-python',
            'numpy',
            'pyyaml',
            'matplotlib',
            'scipy',
            'tabulate',
            'tqdm',
            'packaging',
            'safetensors',
            'PyWavelets',
            'pydantic>=2.5'
        ],
        extras_require={
            # memnet-restore --backend
            'onnxruntime': ['onnx', 'onnxruntime'],
            'openvino': ['onnx', 'openvino'],
            'spandrel': ['spandrel>=0.4'],
            'hub': ['huggingface_hub'],
            'gui': ['gradio>=6'],
            # scripts/compare_restorers.py; bm3d is for non-commercial use
            'compare': ['bm3d'],
            # scikit-image: images of the demo and independent checks of metrics
            'tests': [
                'pytest', 'scikit-image', 'onnx', 'onnxruntime', 'openvino', 'jsonschema', 'spandrel',
                'huggingface_hub', 'nbclient', 'ipykernel'
            ],
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
