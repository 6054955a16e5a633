import torch
from collections import OrderedDict

from basicsr.archs import build_network
from basicsr.losses import build_loss
from basicsr.utils.registry import MODEL_REGISTRY
from .sr_model import SRModel


@MODEL_REGISTRY.register()
class MemoryNetModel(SRModel):
    """SRModel with reconstruction of the clean image from memory, and contrast of restored, clean and degraded images.

    Memory augment is All You Need for image restoration (Zhang et al.).
    Ref: https://arxiv.org/abs/2309.01377.

    Each term is optional. It trains any network of one or several outputs, the final one first. In ``train``:

    - reconstruction_opt: Loss between ``net_g.reconstruct(gt)`` and gt, for networks with the method ``reconstruct``.
    - contrast_opt: ThreeClassContrastiveLoss. It needs ``network_c`` (for example ContrastEncoder), ``optim_c``, and lq
      and gt of the same size (``scale: 1``). The paper does not define its embedding network and its formula.
    """

    def init_training_settings(self):
        train_opt = self.opt['train']
        self.cri_recon = self.cri_contrast = None
        if train_opt.get('reconstruction_opt'):
            self.cri_recon = build_loss(train_opt['reconstruction_opt']).to(self.device)
        if train_opt.get('contrast_opt'):
            self.cri_contrast = build_loss(train_opt['contrast_opt']).to(self.device)
            self.net_c = self.model_to_device(build_network(self.opt['network_c']))
            self.print_network(self.net_c)
            load_path = self.opt['path'].get('pretrain_network_c', None)
            if load_path is not None:
                param_key = self.opt['path'].get('param_key_c', 'params')
                self.load_network(self.net_c, load_path, self.opt['path'].get('strict_load_c', True), param_key)
            self.net_c.train()
        super(MemoryNetModel, self).init_training_settings()

    def setup_optimizers(self):
        super(MemoryNetModel, self).setup_optimizers()
        if self.cri_contrast:
            optim_opt = self.opt['train']['optim_c']
            self.optimizer_c = self.get_optimizer(optim_opt.pop('type'), self.net_c.parameters(), **optim_opt)
            self.optimizers.append(self.optimizer_c)

    def optimize_parameters(self, current_iter):
        # optimize net_g
        self.optimizer_g.zero_grad()
        self.output = self.net_g(self.lq)
        restored = self.output[0] if isinstance(self.output, (list, tuple)) else self.output

        loss_dict = OrderedDict()
        if self.cri_pix:
            loss_dict['l_pix'] = self.cri_pix(self.output, self.gt)
        if self.cri_perceptual:
            l_percep, l_style = self.cri_perceptual(restored, self.gt)
            if l_percep is not None:
                loss_dict['l_percep'] = l_percep
            if l_style is not None:
                loss_dict['l_style'] = l_style
        if self.cri_recon:
            # a second forward, outside of DistributedDataParallel, which works without find_unused_parameters only
            recon = self.get_bare_model(self.net_g).reconstruct(self.gt)
            loss_dict['l_recon'] = self.cri_recon(recon, self.gt)
        if self.cri_contrast:
            net_c = self.get_bare_model(self.net_c)
            for p in net_c.parameters():
                p.requires_grad = False
            with torch.no_grad():
                clean, degraded = net_c(self.gt), net_c(self.lq)
            terms = self.cri_contrast(net_c(restored), clean, degraded, role='restorer')
            loss_dict.update((f'l_{name}', v) for name, v in terms.items())

        sum(loss_dict.values()).backward()
        self.optimizer_g.step()

        # optimize net_c
        if self.cri_contrast:
            for p in self.net_c.parameters():
                p.requires_grad = True
            self.optimizer_c.zero_grad()
            # one forward for the three classes, as DistributedDataParallel wants one forward for each backward
            feat, local = self.net_c(torch.cat([restored.detach(), self.gt, self.lq]))
            terms = self.cri_contrast(*zip(feat.chunk(3), local.chunk(3)), role='encoder')
            if terms:  # none if encoder_weight and local_weight are 0
                sum(terms.values()).backward()
                self.optimizer_c.step()
            loss_dict.update((f'l_{name}', v) for name, v in terms.items())

        self.log_dict = self.reduce_loss_dict(loss_dict)

        if self.ema_decay > 0:
            self.model_ema(decay=self.ema_decay)

    def save(self, epoch, current_iter):
        if self.cri_contrast:
            self.save_network(self.net_c, 'net_c', current_iter)
        super(MemoryNetModel, self).save(epoch, current_iter)
