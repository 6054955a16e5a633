import cv2
import numpy as np
import random
from os import path as osp
from torch.utils import data as data

from basicsr.data.data_util import paths_from_lmdb
from basicsr.data.transforms import augment, mod_crop, paired_random_crop
from basicsr.utils import FileClient, bgr2ycbcr, imfrombytes, img2tensor, scandir
from basicsr.utils.matlab_functions import imresize
from basicsr.utils.registry import DATASET_REGISTRY


class DegradedImageDataset(data.Dataset):
    """Base of datasets that degrade GT images on the fly. A subclass defines ``level_key`` and :meth:`degrade`.

    The whole image is degraded before it is cropped, so that a training patch is a part of a degraded image. Large
    images should be cropped to sub-images first (scripts/data_preparation/extract_subimages.py).

    Args:
        opt (dict): Config for datasets. It contains the following keys, and the level of the degradation:
        dataroot_gt (str): Data root path for gt.
        meta_info_file (str): Path for meta information file. If not given, all images of the folder are used.
        io_backend (dict): IO backend type and other kwarg.
        color (str): 'rgb', 'y' (Y of YCbCr as in MATLAB, rounded to 8 bits) or 'gray'. Gray images are used as they
            are. Default: 'rgb'.
        gt_size (int): Cropped patched size for gt patches.
        use_hflip (bool): Use horizontal flips.
        use_rot (bool): Use rotation (use vertical flip and transposing h and w for implementation).
        phase (str): 'train' or 'val'. In training, one of a list of levels is drawn for each sample; otherwise the
            first level is used, and noise depends on the index of the image only.
    """
    level_key = None

    def __init__(self, opt):
        super(DegradedImageDataset, self).__init__()
        self.opt = opt
        self.file_client = None
        self.io_backend_opt = opt['io_backend']
        self.color = opt.get('color', 'rgb')
        if self.color not in ('rgb', 'y', 'gray'):
            raise ValueError(f"color must be 'rgb', 'y' or 'gray', but received {self.color}.")
        level = opt[self.level_key]
        self.levels = level if isinstance(level, (list, tuple)) else [level]

        gt_folder = opt['dataroot_gt']
        if self.io_backend_opt['type'] == 'lmdb':
            self.io_backend_opt['db_paths'] = [gt_folder]
            self.io_backend_opt['client_keys'] = ['gt']
            self.paths = paths_from_lmdb(gt_folder)
        elif opt.get('meta_info_file') is not None:
            with open(opt['meta_info_file'], 'r') as fin:
                self.paths = [osp.join(gt_folder, line.rstrip().split(' ')[0]) for line in fin]
        else:
            self.paths = sorted(scandir(gt_folder, full_path=True))

    def degrade(self, img, level, rng):
        """Degrade an image.

        Args:
            img (ndarray): GT image, uint8, (h, w, c), BGR or gray.
            level (float): Level of the degradation.
            rng (module | RandomState): ``np.random`` or a random state.

        Returns:
            ndarray: LQ image, float32, range [0, 1], not clipped. It has the size of the GT image.
        """
        raise NotImplementedError

    def read(self, path, level):
        """Read a GT image, uint8, (h, w, c)."""
        img = cv2.imdecode(np.frombuffer(self.file_client.get(path, 'gt'), np.uint8), cv2.IMREAD_ANYCOLOR)
        if img is None:
            raise ValueError(f'{path} is not an image.')
        if img.ndim == 2:
            img = img[..., None]
            return img.repeat(3, axis=2) if self.color == 'rgb' else img
        if self.color == 'y':
            return bgr2ycbcr(img, y_only=True)[..., None]
        return cv2.cvtColor(img, cv2.COLOR_BGR2GRAY)[..., None] if self.color == 'gray' else img

    def __getitem__(self, index):
        if self.file_client is None:
            self.file_client = FileClient(self.io_backend_opt.pop('type'), **self.io_backend_opt)

        is_train = self.opt['phase'] == 'train'
        level = random.choice(self.levels) if is_train else self.levels[0]
        gt_path = self.paths[index]
        img_gt = self.read(gt_path, level)
        img_lq = self.degrade(img_gt, level, np.random if is_train else np.random.RandomState(index))
        img_gt = img_gt.astype(np.float32) / 255.

        if is_train:
            img_gt, img_lq = paired_random_crop(img_gt, img_lq, self.opt['gt_size'], 1, gt_path)
            patches = [np.ascontiguousarray(v) for v in (img_gt, img_lq)]  # augment flips in place
            img_gt, img_lq = augment(patches, self.opt['use_hflip'], self.opt['use_rot'])

        img_gt, img_lq = img2tensor([img_gt, img_lq], bgr2rgb=True, float32=True)
        return {'lq': img_lq, 'gt': img_gt, 'lq_path': gt_path, 'gt_path': gt_path}

    def __len__(self):
        return len(self.paths)


@DATASET_REGISTRY.register()
class NoisyImageDataset(DegradedImageDataset):
    """LQ images with Gaussian noise of standard deviation ``sigma`` (range [0, 255]), neither clipped nor rounded."""
    level_key = 'sigma'

    def degrade(self, img, level, rng):
        return img.astype(np.float32) / 255. + rng.randn(*img.shape).astype(np.float32) * np.float32(level / 255.)


@DATASET_REGISTRY.register()
class JPEGImageDataset(DegradedImageDataset):
    """LQ images compressed with JPEG at ``quality``, from 1 to 100. 'y' and 'gray' are compressed as gray images."""
    level_key = 'quality'

    def degrade(self, img, level, rng):
        _, code = cv2.imencode('.jpg', img, [cv2.IMWRITE_JPEG_QUALITY, int(level)])
        return imfrombytes(code, flag='unchanged', float32=True).reshape(img.shape)


@DATASET_REGISTRY.register()
class BicubicImageDataset(DegradedImageDataset):
    """LQ images that are down- and up-scaled by ``downscale`` with MATLAB's bicubic, neither clipped nor rounded.

    ``downscale`` is an integer. GT images are cropped to multiples of it. LQ images have the size of GT images
    (``scale: 1``).
    """
    level_key = 'downscale'

    def read(self, path, level):
        return mod_crop(super(BicubicImageDataset, self).read(path, level), level)

    def degrade(self, img, level, rng):
        img = img.astype(np.float32) / 255.
        return imresize(imresize(img, 1 / level), level).reshape(img.shape)
