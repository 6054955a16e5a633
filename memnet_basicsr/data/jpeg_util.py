import cv2


def compress_jpeg(img, quality, subsampling='420'):
    """Compress and decompress an image with JPEG.

    Args:
        img (ndarray): uint8, (H, W, 1), or (H, W, 3) BGR.
        quality (int): Quality, 1..100.
        subsampling (str): Chroma subsampling of color images: '420' (half width and height), '422' (half width) or
            '444' (none). Default: '420'.

    Returns:
        ndarray: As ``img``.
    """
    factor = getattr(cv2, f'IMWRITE_JPEG_SAMPLING_FACTOR_{subsampling}')
    options = [cv2.IMWRITE_JPEG_QUALITY, int(quality), cv2.IMWRITE_JPEG_SAMPLING_FACTOR, factor]
    _, code = cv2.imencode('.jpg', img, options)
    return cv2.imdecode(code, cv2.IMREAD_ANYCOLOR).reshape(img.shape)
