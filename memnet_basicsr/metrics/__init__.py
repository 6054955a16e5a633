from ..registry import BASICSR_FAULT

if BASICSR_FAULT is None:
    from .abnormality import calculate_abnormality_auroc
    from .lab_error import calculate_lab_error
    from .luma import calculate_psnr_luma, calculate_ssim_luma
    from .masked_literature import calculate_masked_psnr, calculate_masked_ssim
    from .region_psnr_ssim import calculate_region_psnr, calculate_region_ssim
    from .ssim_3d import calculate_ssim_3d

    __all__ = [
        'calculate_abnormality_auroc', 'calculate_lab_error', 'calculate_masked_psnr', 'calculate_masked_ssim',
        'calculate_psnr_luma', 'calculate_region_psnr', 'calculate_region_ssim', 'calculate_ssim_3d',
        'calculate_ssim_luma'
    ]
