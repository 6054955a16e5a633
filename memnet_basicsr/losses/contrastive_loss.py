import torch
from torch import nn as nn
from torch.nn import functional as F

from basicsr.utils.registry import LOSS_REGISTRY


def pull_push_loss(restored, clean, degraded, temperature=0.1):
    """Pull each restored image to its clean one and push it from the degraded ones, in the embedding space.

    Mean over i of -log(e(r_i, c_i) / (e(r_i, c_i) + sum_j e(r_i, d_j))), e(a, b) = exp(cos(a, b) / temperature).

    Args:
        restored, clean, degraded (Tensor): Global features (N, D). Only ``restored`` receives a gradient.
        temperature (float): Above 0. Default: 0.1.

    Returns:
        Tensor: Scalar.
    """
    restored, clean, degraded = (F.normalize(v, dim=1) for v in (restored, clean.detach(), degraded.detach()))
    positive = (restored * clean).sum(1, keepdim=True) / temperature
    negative = restored @ degraded.t() / temperature
    return (torch.cat([positive, negative], dim=1).logsumexp(1, keepdim=True) - positive).mean()


def class_loss(restored, clean, degraded, temperature=0.1):
    """Supervised contrastive loss of the three classes restored, clean, degraded (https://arxiv.org/abs/2004.11362).

    Mean over all features z_i and the other members p of i's class of
    -log(e(z_i, z_p) / sum_{k != i} e(z_i, z_k)), e as in :func:`pull_push_loss`.

    Args:
        restored, clean, degraded (Tensor): Global features (N, D) each, N at least 2.
        temperature (float): Above 0. Default: 0.1.

    Raises:
        ValueError: N is 1: a class of one has no other member.
    """
    num = _at_least_two(restored)
    feat = F.normalize(torch.cat([restored, clean, degraded]), dim=1)
    label = torch.arange(3, device=feat.device).repeat_interleave(num)
    itself = torch.eye(3 * num, dtype=torch.bool, device=feat.device)
    log_prob = (feat @ feat.t() / temperature).masked_fill(itself, float('-inf')).log_softmax(dim=1)
    others = (label[:, None] == label) & ~itself
    # not by indexing with the mask, which waits for a GPU
    return -log_prob.masked_fill(~others, 0).sum() / (3 * num * (num - 1))


def global_local_loss(global_feat, local_feat, temperature=0.1):
    """Classify which image i of the batch a local feature is of: cross entropy over cos(global_i, local) / temperature.

    Args:
        global_feat (Tensor): (N, D), N at least 2.
        local_feat (Tensor): (N, D, H, W).
        temperature (float): Above 0. Default: 0.1.

    Raises:
        ValueError: N is 1.
    """
    num = _at_least_two(global_feat)
    logits = torch.einsum('id,jdhw->jihw', F.normalize(global_feat, dim=1), F.normalize(local_feat, dim=1))
    target = torch.arange(num, device=logits.device).view(-1, 1, 1).expand(num, *logits.shape[2:])
    return F.cross_entropy(logits / temperature, target)


def _at_least_two(feat):
    if len(feat) < 2:
        raise ValueError('ThreeClassContrastiveLoss: the encoder needs batches of 2 images or more; raise '
                         'batch_size_per_gpu, or set encoder_weight and local_weight to 0')
    return len(feat)


@LOSS_REGISTRY.register()
class ThreeClassContrastiveLoss(nn.Module):
    """Contrastive loss between restored, clean and degraded images. The formulas are our own.

    In MemoryNet (https://arxiv.org/abs/2309.01377), restored images are anchors, clean ones positives and degraded ones
    negatives, and global features are matched with local ones of the same image; it gives neither formula nor network.
    Here, an encoder learns to separate the three classes (:func:`class_loss`) and, optionally, to assign local features
    to their image (:func:`global_local_loss`). The restorer is trained with :func:`pull_push_loss`. An encoder maps an
    image to (global (N, D), local (N, D, H, W)), as ``ContrastEncoder`` does. Train both alternately, like a generator
    and a discriminator: the encoder on ``encoder(output.detach())``, the restorer with a frozen encoder.

    Args:
        restorer_weight (float): Weight of the restorer's term; 0 disables it. Default: 1.0.
        encoder_weight (float): Weight of the encoder's class term. Default: 1.0.
        local_weight (float): Weight of the encoder's global against local term. Default: 0.0.
        temperature (float): Above 0. Smaller values give the hardest negative more weight. Default: 0.1.

    Raises:
        ValueError: If the temperature is 0 or less, or an encoder's term gets a batch of 1.
    """

    def __init__(self, restorer_weight=1.0, encoder_weight=1.0, local_weight=0.0, temperature=0.1):
        super().__init__()
        if temperature <= 0:
            raise ValueError(f'ThreeClassContrastiveLoss: temperature must be above 0, got {temperature}')
        self.restorer_weight = restorer_weight
        self.encoder_weight = encoder_weight
        self.local_weight = local_weight
        self.temperature = temperature

    def forward(self, restored, clean, degraded, role='restorer'):
        """
        Args:
            restored, clean, degraded (tuple[Tensor]): (global, local) features of an encoder, local unused (may be
                None) where local_weight is 0.
            role (str): Whose terms to compute, 'restorer' or 'encoder'. Default: 'restorer'.

        Returns:
            dict[str, Tensor]: Weighted terms by name, without those that are switched off: ``contrast`` for the
            restorer, ``contrast_encoder`` and ``contrast_local`` for the encoder.
        """
        feats = (restored, clean, degraded)
        terms = {}
        if role == 'restorer' and self.restorer_weight:
            terms['contrast'] = self.restorer_weight * pull_push_loss(*[v[0] for v in feats], self.temperature)
        if role == 'encoder' and self.encoder_weight:
            terms['contrast_encoder'] = self.encoder_weight * class_loss(*[v[0] for v in feats], self.temperature)
        if role == 'encoder' and self.local_weight:
            local = sum(global_local_loss(*v, self.temperature) for v in feats) / 3
            terms['contrast_local'] = self.local_weight * local
        return terms
