"""MemoryNet as its definition reads, operation by operation: the specification that the fast network is tested against
and the baseline that it is timed against. Parameter names are the released ones. Sizes must be multiples of 8."""
import torch
from torch import nn
from torch.nn import functional as F


def conv(num_in, num_out, kernel_size=3):
    return nn.Conv2d(num_in, num_out, kernel_size, padding=kernel_size // 2, bias=False)


def read_plain(x, prototypes, temperature=1., cosine=True, threshold=0.):
    """Read of (N, C, H, W) features from (P, C) prototypes, with everything held at once."""
    rows = x.permute(0, 2, 3, 1)
    query, key = rows, prototypes
    if cosine:
        query, key = F.normalize(query, dim=-1), F.normalize(key, dim=-1)
    weight = torch.softmax(query @ key.t() / temperature, dim=-1)
    if threshold:
        weight = torch.where(weight > torch.clamp(weight.amax(-1, keepdim=True), max=threshold), weight,
                             torch.where(weight == weight.amax(-1, keepdim=True), weight, 0.))
        weight = weight / weight.sum(-1, keepdim=True)
    return (weight @ prototypes).permute(0, 3, 1, 2)


class RawMemory(nn.Module):
    """The released memory on the image itself."""

    def __init__(self, num_in_ch=3):
        super().__init__()
        self.memory = nn.Module()
        self.memory.weight = nn.Parameter(torch.empty(100, num_in_ch).uniform_(-num_in_ch**-.5, num_in_ch**-.5))
        self.memory.reweight_layer_part = nn.Conv1d(5, 5, 1)
        self.memory.reweight_layer_ins = nn.Conv1d(2, 2, 1)

    def forward(self, x):
        part = self.memory.weight
        blocks = part.view(20, -1, 5).transpose(1, 2)  # the released reading of the axes
        instance = (torch.sigmoid(self.memory.reweight_layer_part(blocks)) * blocks).mean(1)
        blocks = instance.view(10, 2, -1)
        semantic = (torch.sigmoid(self.memory.reweight_layer_ins(blocks)) * blocks).mean(1)
        reads = []
        for prototypes in (part, instance, semantic):
            weight = torch.softmax(torch.einsum('nchw,pc->nphw', x, prototypes), dim=1)
            weight = F.normalize(weight * (weight > 0.0025), p=1, dim=1)
            x = torch.einsum('nphw,pc->nchw', weight, prototypes)
            reads.append(x)
        return reads


class CAB(nn.Module):

    def __init__(self, num_feat, act, reduction=4):
        super().__init__()
        self.CA = nn.Module()
        self.CA.conv_du = nn.Sequential(
            conv(num_feat, num_feat // reduction, 1), nn.ReLU(), conv(num_feat // reduction, num_feat, 1), nn.Sigmoid())
        self.body = nn.Sequential(conv(num_feat, num_feat), act, conv(num_feat, num_feat))

    def forward(self, x):
        res = self.body(x)
        res = res * self.CA.conv_du(F.adaptive_avg_pool2d(res, 1))
        return res + x


def resample(num_in, num_out, scale, name):
    module = nn.Module()
    layer = nn.Sequential(
        nn.Upsample(scale_factor=scale, mode='bilinear', align_corners=False), conv(num_in, num_out, 1))
    module.add_module(name, layer)
    module.forward = layer.forward
    return module


class Encoder(nn.Module):

    def __init__(self, feats, act, csff):
        super().__init__()
        self.csff = csff
        self.encoder_level1 = nn.Sequential(CAB(feats[0], act), CAB(feats[0], act))
        self.encoder_level2 = nn.Sequential(CAB(feats[1], act), CAB(feats[1], act))
        self.encoder_level3 = nn.Sequential(CAB(feats[2], act), CAB(feats[2], act))
        self.down12 = resample(feats[0], feats[1], 0.5, 'down')
        self.down23 = resample(feats[1], feats[2], 0.5, 'down')
        if csff:
            for level, num_feat in enumerate(feats, 1):
                self.add_module(f'csff_enc{level}', conv(num_feat, num_feat, 1))
            for level, num_feat in enumerate(feats, 1):
                self.add_module(f'csff_dec{level}', conv(num_feat, num_feat, 1))

    def forward(self, x, enc=None, dec=None):
        enc1 = self.encoder_level1(x)
        if self.csff:
            enc1 = enc1 + self.csff_enc1(enc[0]) + self.csff_dec1(dec[0])
        enc2 = self.encoder_level2(self.down12(enc1))
        if self.csff:
            enc2 = enc2 + self.csff_enc2(enc[1]) + self.csff_dec2(dec[1])
        enc3 = self.encoder_level3(self.down23(enc2))
        if self.csff:
            enc3 = enc3 + self.csff_enc3(enc[2]) + self.csff_dec3(dec[2])
        return [enc1, enc2, enc3]


class Decoder(nn.Module):

    def __init__(self, feats, act):
        super().__init__()
        self.decoder_level1 = nn.Sequential(CAB(feats[0], act), CAB(feats[0], act))
        self.decoder_level2 = nn.Sequential(CAB(feats[1], act), CAB(feats[1], act))
        self.decoder_level3 = nn.Sequential(CAB(feats[2], act), CAB(feats[2], act))
        self.skip_attn1 = CAB(feats[0], act)
        self.skip_attn2 = CAB(feats[1], act)
        self.up21 = resample(feats[1], feats[0], 2, 'up')
        self.up32 = resample(feats[2], feats[1], 2, 'up')

    def forward(self, enc):
        dec3 = self.decoder_level3(enc[2])
        dec2 = self.decoder_level2(self.up32(dec3) + self.skip_attn2(enc[1]))
        dec1 = self.decoder_level1(self.up21(dec2) + self.skip_attn1(enc[0]))
        return [dec1, dec2, dec3]


class ORSNet(nn.Module):

    def __init__(self, feats, num_ors, num_cab, act):
        super().__init__()
        for i in (1, 2, 3):
            orb = nn.Module()
            orb.body = nn.Sequential(*[CAB(num_ors, act) for _ in range(num_cab)], conv(num_ors, num_ors))
            self.add_module(f'orb{i}', orb)
        for side in ('enc', 'dec'):
            self.add_module(f'up_{side}1', resample(feats[1], feats[0], 2, 'up'))
            self.add_module(f'up_{side}2',
                            nn.Sequential(resample(feats[2], feats[1], 2, 'up'), resample(feats[1], feats[0], 2, 'up')))
            for i in (1, 2, 3):
                self.add_module(f'conv_{side}{i}', conv(feats[0], num_ors, 1))

    def forward(self, x, enc, dec):
        x = self.orb1.body(x) + x
        x = x + self.conv_enc1(enc[0]) + self.conv_dec1(dec[0])
        x = self.orb2.body(x) + x
        x = x + self.conv_enc2(self.up_enc1(enc[1])) + self.conv_dec2(self.up_dec1(dec[1]))
        x = self.orb3.body(x) + x
        return x + self.conv_enc3(self.up_enc2(enc[2])) + self.conv_dec3(self.up_dec2(dec[2]))


class SAM(nn.Module):

    def __init__(self, num_feat, num_ch):
        super().__init__()
        self.conv1 = conv(num_feat, num_feat, 1)
        self.conv2 = conv(num_feat, num_ch, 1)
        self.conv3 = conv(num_ch, num_feat, 1)

    def forward(self, x, base):
        img = self.conv2(x) + base
        return self.conv1(x) * torch.sigmoid(self.conv3(img)) + x, img


class MemoryNetPlain(nn.Module):
    """Args: widths as in MemoryNet; memory (str): 'none' or 'released'. Returns [stage 3, stage 2, stage 1]."""

    def __init__(self, num_ch=3, num_feat=40, scale_unetfeats=20, scale_orsnetfeats=16, num_cab=8, memory='none'):
        super().__init__()
        act = nn.PReLU()
        feats = [num_feat + i * scale_unetfeats for i in range(3)]
        num_ors = num_feat + scale_orsnetfeats
        if memory == 'released':
            self.memory = RawMemory(num_ch)
        self.released = memory == 'released'
        for i in (1, 2, 3):
            self.add_module(f'shallow_feat{i}', nn.Sequential(conv(num_ch, num_feat), CAB(num_feat, act)))
        self.stage1_encoder = Encoder(feats, act, csff=False)
        self.stage1_decoder = Decoder(feats, act)
        self.stage2_encoder = Encoder(feats, act, csff=True)
        self.stage2_decoder = Decoder(feats, act)
        self.stage3_orsnet = ORSNet(feats, num_ors, num_cab, act)
        self.sam12 = SAM(num_feat, num_ch)
        self.sam23 = SAM(num_feat, num_ch)
        self.concat12 = conv(num_feat * 2, num_feat)
        self.concat23 = conv(num_feat * 2, num_ors)
        self.tail = conv(num_ors, num_ch)

    def forward(self, x):
        x1, x2, x3 = self.reads(x)
        # stage 1: the encoder sees quarters, the decoder and the attention module halves
        halves = []
        for rows, base in zip(x1.chunk(2, dim=2), x2.chunk(2, dim=2)):
            left, right = [self.stage1_encoder(self.shallow_feat1(v)) for v in rows.chunk(2, dim=3)]
            enc = [torch.cat(v, dim=3) for v in zip(left, right)]
            dec = self.stage1_decoder(enc)
            halves.append((enc, dec, *self.sam12(dec[0], base)))
        stage1 = torch.cat([v[3] for v in halves], dim=2)
        # stage 2: the encoder sees halves, the decoder the whole image
        encs = []
        for base, (enc, dec, feat, _) in zip(x2.chunk(2, dim=2), halves):
            feat = self.concat12(torch.cat([self.shallow_feat2(base), feat], dim=1))
            encs.append(self.stage2_encoder(feat, enc, dec))
        enc = [torch.cat(v, dim=2) for v in zip(*encs)]
        dec = self.stage2_decoder(enc)
        feat, stage2 = self.sam23(dec[0], x3)
        # stage 3: the whole image at its own resolution
        feat = self.concat23(torch.cat([self.shallow_feat3(x3), feat], dim=1))
        return [self.tail(self.stage3_orsnet(feat, enc, dec)) + x3, stage2, stage1]

    def reads(self, x):
        """What the three stages see: the image, or the released memory's (part, instance, semantic)."""
        return self.memory(x) if self.released else (x, x, x)
