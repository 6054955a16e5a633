def restore_by_ensemble(restore, img):
    """Restore the eight flips and rotations of an image and average the results (geometric self-ensemble, "x8").

    Timofte et al. Seven ways to improve example-based single image super resolution. Ref:
    https://arxiv.org/abs/1511.02228

    Args:
        restore (Callable): Maps (n, c, h, w) to (n, c', h * s, w * s) for an integer s.
        img (Tensor): Images, shape (n, c, h, w).

    Returns:
        Tensor: Mean of the eight results, shape (n, c', h * s, w * s).
    """
    total = None
    for transposed in (False, True):
        for flipped in ((), (2, ), (3, ), (2, 3)):
            out = img.transpose(2, 3) if transposed else img
            # undone in reverse order: flips first, then the transposition
            out = restore(out.flip(flipped)).flip(flipped)
            out = out.transpose(2, 3) if transposed else out
            total = out.clone() if total is None else total.add_(out)
    return total / 8
