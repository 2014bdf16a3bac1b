"""One RVC v2 training step in PyTorch, timed by part, to be read beside `cargo xtask bench step`.

Written for this benchmark from the specification of the networks and of the step; weights and data are random. It does what
the Python training does, not what is fastest: D stays unfrozen in the G step, the real branch keeps its graph there, gradient
norms are read parameter by parameter, AdamW is PyTorch's default. Prints one JSON object: part -> seconds of each round.
"""

import argparse
import json
import math
import time
import warnings

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import weight_norm

warnings.filterwarnings("ignore", category=FutureWarning)

RATE, N_FFT, HOP, N_MELS = 40000, 2048, 400, 125
SEGMENT = 12800
CHANNELS, SPEAKER, UPSAMPLING, UP_KERNELS = 192, 256, (10, 10, 2, 2), (16, 16, 4, 4)


class Attention(nn.Module):
    """Two heads with relative positions up to 10 frames away."""

    def __init__(self, channels=CHANNELS, heads=2, window=10):
        super().__init__()
        self.heads, self.size, self.window = heads, channels // heads, window
        self.q, self.k, self.v, self.o = (nn.Conv1d(channels, channels, 1) for _ in range(4))
        self.near_k, self.near_v = (nn.Parameter(torch.randn(1, 2 * window + 1, self.size) * self.size**-0.5) for _ in range(2))

    def forward(self, x, mask):
        batch, _, frames = x.shape
        q, k, v = (layer(x).view(batch, self.heads, self.size, frames).transpose(2, 3) for layer in (self.q, self.k, self.v))
        q = q / math.sqrt(self.size)
        offset = torch.arange(frames)[None] - torch.arange(frames)[:, None]
        near, index = offset.abs() <= self.window, (offset.clamp(-self.window, self.window) + self.window).expand(batch, self.heads, -1, -1)
        relative = (q @ self.near_k.transpose(1, 2)).gather(3, index) * near
        scores = (q @ k.transpose(2, 3) + relative).masked_fill(mask == 0, -1e4)
        p = scores.softmax(-1)
        banded = torch.zeros(batch, self.heads, frames, 2 * self.window + 1).scatter_add(3, index, p * near)
        out = p @ v + banded @ self.near_v
        return self.o(out.transpose(2, 3).reshape(batch, -1, frames))


class ChannelNorm(nn.LayerNorm):
    def forward(self, x):
        return super().forward(x.transpose(1, 2)).transpose(1, 2)


class TextEncoder(nn.Module):
    def __init__(self, layers=6):
        super().__init__()
        self.phone, self.pitch = nn.Linear(768, CHANNELS), nn.Embedding(256, CHANNELS)
        self.attentions = nn.ModuleList(Attention() for _ in range(layers))
        self.norms = nn.ModuleList(ChannelNorm(CHANNELS) for _ in range(2 * layers))
        self.up = nn.ModuleList(nn.Conv1d(CHANNELS, 768, 3, padding=1) for _ in range(layers))
        self.down = nn.ModuleList(nn.Conv1d(768, CHANNELS, 3, padding=1) for _ in range(layers))
        self.proj = nn.Conv1d(CHANNELS, 2 * CHANNELS, 1)

    def forward(self, phone, pitch, mask):
        x = F.leaky_relu((self.phone(phone) + self.pitch(pitch)) * math.sqrt(CHANNELS), 0.1).transpose(1, 2) * mask
        pairs = mask.unsqueeze(2) * mask.unsqueeze(3)
        for i, attention in enumerate(self.attentions):
            x = self.norms[2 * i](x + attention(x, pairs))
            y = self.down[i](F.relu(self.up[i](x * mask)) * mask) * mask
            x = self.norms[2 * i + 1](x + y)
        return (self.proj(x * mask) * mask).chunk(2, 1)


class WaveNet(nn.Module):
    def __init__(self, layers):
        super().__init__()
        self.condition = weight_norm(nn.Conv1d(SPEAKER, 2 * CHANNELS * layers, 1))
        self.inner = nn.ModuleList(weight_norm(nn.Conv1d(CHANNELS, 2 * CHANNELS, 5, padding=2)) for _ in range(layers))
        sizes = [2 * CHANNELS] * (layers - 1) + [CHANNELS]
        self.outer = nn.ModuleList(weight_norm(nn.Conv1d(CHANNELS, size, 1)) for size in sizes)

    def forward(self, x, mask, speaker):
        total = torch.zeros_like(x)
        for inner, outer, condition in zip(self.inner, self.outer, self.condition(speaker).chunk(len(self.inner), 1)):
            a, b = (inner(x) + condition).chunk(2, 1)
            y = outer(a.tanh() * b.sigmoid())
            if y.shape[1] > CHANNELS:
                y, skip = y.chunk(2, 1)
                x, y = (x + y) * mask, skip
            total = total + y
        return total * mask


class Posterior(nn.Module):
    def __init__(self):
        super().__init__()
        self.pre, self.proj = nn.Conv1d(N_FFT // 2 + 1, CHANNELS, 1), nn.Conv1d(CHANNELS, 2 * CHANNELS, 1)
        self.inner = WaveNet(16)

    def forward(self, spec, mask, speaker):
        m, logs = (self.proj(self.inner(self.pre(spec) * mask, mask, speaker)) * mask).chunk(2, 1)
        return (m + torch.randn_like(m) * logs.exp()) * mask, m, logs


class Coupling(nn.Module):
    def __init__(self):
        super().__init__()
        self.pre, self.post, self.inner = nn.Conv1d(CHANNELS // 2, CHANNELS, 1), nn.Conv1d(CHANNELS, CHANNELS // 2, 1), WaveNet(3)

    def forward(self, x, mask, speaker):
        a, b = x.chunk(2, 1)
        m = self.post(self.inner(self.pre(a) * mask, mask, speaker)) * mask
        return torch.cat([a, m + b * mask], 1).flip(1)


class ResBlock(nn.Module):
    def __init__(self, channels, kernel):
        super().__init__()
        conv = lambda d: weight_norm(nn.Conv1d(channels, channels, kernel, dilation=d, padding=(kernel * d - d) // 2))
        self.wide, self.flat = nn.ModuleList(conv(d) for d in (1, 3, 5)), nn.ModuleList(conv(1) for _ in range(3))

    def forward(self, x):
        for wide, flat in zip(self.wide, self.flat):
            x = x + flat(F.leaky_relu(wide(F.leaky_relu(x, 0.1)), 0.1))
        return x


class Vocoder(nn.Module):
    """Harmonic source and upsampling filter."""

    def __init__(self, channels=512):
        super().__init__()
        self.source = nn.Linear(1, 1)
        self.pre, self.condition = nn.Conv1d(CHANNELS, channels, 7, padding=3), nn.Conv1d(SPEAKER, channels, 1)
        self.ups, self.noises, self.blocks = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        for i, (rate, kernel) in enumerate(zip(UPSAMPLING, UP_KERNELS)):
            channels //= 2
            stride = math.prod(UPSAMPLING[i + 1 :])
            self.ups.append(weight_norm(nn.ConvTranspose1d(2 * channels, channels, kernel, rate, (kernel - rate) // 2)))
            self.noises.append(nn.Conv1d(1, channels, 2 * stride, stride, stride // 2) if stride > 1 else nn.Conv1d(1, channels, 1))
            self.blocks.extend(ResBlock(channels, kernel) for kernel in (3, 7, 11))
        self.post = nn.Conv1d(channels, 1, 7, padding=3, bias=False)

    def excitation(self, f0):
        with torch.no_grad():
            f0 = f0.repeat_interleave(HOP, 1)
            voiced = (f0 > 0).float()
            phase = (f0.double() / RATE).cumsum(1) % 1
            sine = 0.1 * torch.sin(2 * math.pi * phase).float()
            noise = (voiced * 0.003 + (1 - voiced) * 0.1 / 3) * torch.randn_like(sine)
            wave = (sine * voiced + noise).unsqueeze(2)
        return self.source(wave).tanh().transpose(1, 2)

    def forward(self, z, f0, speaker):
        wave = self.excitation(f0)
        x = self.pre(z) + self.condition(speaker)
        for i, (up, noise) in enumerate(zip(self.ups, self.noises)):
            x = up(F.leaky_relu(x, 0.1)) + noise(wave)
            x = sum(block(x) for block in self.blocks[3 * i : 3 * i + 3]) / 3
        return self.post(F.leaky_relu(x)).tanh()


def windows(x, starts, n):
    return torch.stack([row[..., s : s + n] for row, s in zip(x, starts.tolist())])


class Generator(nn.Module):
    def __init__(self):
        super().__init__()
        self.text, self.posterior, self.vocoder = TextEncoder(), Posterior(), Vocoder()
        self.flow = nn.ModuleList(Coupling() for _ in range(4))
        self.speakers = nn.Embedding(109, SPEAKER)

    def forward(self, phone, pitch, f0, spec, lengths, sid):
        mask = (torch.arange(spec.shape[2])[None] < lengths[:, None]).unsqueeze(1).float()
        speaker = self.speakers(sid).unsqueeze(2)
        m_p, logs_p = self.text(phone, pitch, mask)
        z, m_q, logs_q = self.posterior(spec, mask, speaker)
        z_p = z
        for coupling in self.flow:
            z_p = coupling(z_p, mask, speaker)
        n = SEGMENT // HOP
        starts = (torch.rand(len(lengths)) * (lengths - n + 1)).long()
        y_hat = self.vocoder(windows(z, starts, n), windows(f0, starts, n), speaker)
        return y_hat, starts, mask, z_p, m_p, logs_p, logs_q


class ScaleDiscriminator(nn.Module):
    def __init__(self):
        super().__init__()
        shapes = [(1, 16, 15, 1, 1), (16, 64, 41, 4, 4), (64, 256, 41, 4, 16), (256, 1024, 41, 4, 64), (1024, 1024, 41, 4, 256), (1024, 1024, 5, 1, 1)]
        self.convs = nn.ModuleList(weight_norm(nn.Conv1d(i, o, k, s, k // 2, groups=g)) for i, o, k, s, g in shapes)
        self.post = weight_norm(nn.Conv1d(1024, 1, 3, padding=1))

    def forward(self, x):
        return layers(self, x)


class PeriodDiscriminator(nn.Module):
    def __init__(self, period):
        super().__init__()
        self.period, sizes = period, (1, 32, 128, 512, 1024, 1024)
        conv = lambda i, o, stride: weight_norm(nn.Conv2d(i, o, (5, 1), (stride, 1), (2, 0)))
        self.convs = nn.ModuleList(conv(i, o, 3 if i != o else 1) for i, o in zip(sizes, sizes[1:]))
        self.post = weight_norm(nn.Conv2d(1024, 1, (3, 1), padding=(1, 0)))

    def forward(self, x):
        x = F.pad(x, (0, -x.shape[2] % self.period), "reflect")
        return layers(self, x.view(x.shape[0], 1, -1, self.period))


def layers(discriminator, x):
    maps = []
    for conv in discriminator.convs:
        x = F.leaky_relu(conv(x), 0.1)
        maps.append(x)
    x = discriminator.post(x)
    return x.flatten(1), maps + [x]


class Discriminator(nn.Module):
    def __init__(self):
        super().__init__()
        self.parts = nn.ModuleList([ScaleDiscriminator()] + [PeriodDiscriminator(p) for p in (2, 3, 5, 7, 11, 17, 23, 37)])

    def forward(self, y, y_hat):
        """Scores and maps of the real and of the made wave, part by part."""
        pairs = [(part(y), part(y_hat)) for part in self.parts]
        return [p[0][0] for p in pairs], [p[1][0] for p in pairs], [p[0][1] for p in pairs], [p[1][1] for p in pairs]


class Spectral:
    def __init__(self):
        self.window = torch.hann_window(N_FFT)
        hz = torch.linspace(0, RATE / 2, N_FFT // 2 + 1, dtype=torch.float64)
        top = 15 + math.log(RATE / 2 / 1000) * 27 / math.log(6.4)
        mels = torch.linspace(0, top, N_MELS + 2, dtype=torch.float64)
        edges = torch.where(mels < 15, mels * 200 / 3, 1000 * torch.exp((mels - 15) * math.log(6.4) / 27))
        rise = (hz[None] - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
        fall = (edges[2:, None] - hz[None]) / (edges[2:] - edges[1:-1])[:, None]
        self.bank = (torch.minimum(rise, fall).clamp(min=0) * (2 / (edges[2:] - edges[:-2]))[:, None]).float()

    def spec(self, wave):
        wave = F.pad(wave.unsqueeze(1), ((N_FFT - HOP) // 2,) * 2, "reflect").squeeze(1)
        s = torch.stft(wave, N_FFT, HOP, window=self.window, center=False, return_complex=True)
        return torch.sqrt(s.real**2 + s.imag**2 + 1e-6)

    def mel(self, spec):
        return torch.log((self.bank @ spec).clamp(min=1e-5))


def batch(spectral):
    """Four clips of 3.2 to 3.7 s, longest first, padded."""
    lengths = torch.tensor([370, 352, 335, 318])
    frames = int(lengths.max())
    wave = torch.sin(torch.arange(frames * HOP) * (2 * math.pi * 220 / RATE)).repeat(4, 1) * 0.3 + torch.randn(4, frames * HOP) * 0.02
    pitch = torch.randint(1, 256, (4, frames))
    return torch.randn(4, frames, 768), pitch, 220.0 + pitch.float(), spectral.spec(wave), lengths, torch.zeros(4, dtype=torch.long), wave.unsqueeze(1)


def gradient_norm(parameters):
    return math.sqrt(sum(p.grad.norm().item() ** 2 for p in parameters if p.grad is not None))


class Clock:
    def __init__(self, parts):
        self.parts, self.last = parts, time.perf_counter()

    def lap(self, name):
        now = time.perf_counter()
        self.parts.setdefault(name, []).append(now - self.last)
        self.last = now


def step(g, d, optim_g, optim_d, spectral, data, parts):
    phone, pitch, f0, spec, lengths, sid, wave = data
    clock = Clock(parts)
    y_hat, starts, mask, z_p, m_p, logs_p, logs_q = g(phone, pitch, f0, spec, lengths, sid)
    clock.lap("G forward")
    y_mel = windows(spectral.mel(spec), starts, SEGMENT // HOP)
    y_hat_mel = spectral.mel(spectral.spec(y_hat.squeeze(1)))
    y = windows(wave, starts * HOP, SEGMENT)
    clock.lap("mel of the output, slices")
    real, fake, _, _ = d(y, y_hat.detach())
    loss_d = sum(((1 - r) ** 2).mean() + (f**2).mean() for r, f in zip(real, fake))
    clock.lap("D step: forward, real and fake")
    optim_d.zero_grad()
    loss_d.backward()
    clock.lap("D step: backward")
    gradient_norm(d.parameters())
    clock.lap("D step: gradient norm")
    optim_d.step()
    clock.lap("D step: AdamW")
    real, fake, real_maps, fake_maps = d(y, y_hat)
    clock.lap("G step: D forward, real and fake")
    loss_mel = (y_mel - y_hat_mel).abs().mean() * 45
    loss_kl = ((logs_p - logs_q - 0.5 + 0.5 * (z_p - m_p) ** 2 * torch.exp(-2 * logs_p)) * mask).sum() / mask.sum()
    loss_fm = 2 * sum((r.detach() - f).abs().mean() for rs, fs in zip(real_maps, fake_maps) for r, f in zip(rs, fs))
    loss_g = sum(((1 - f) ** 2).mean() for f in fake) + loss_fm + loss_mel + loss_kl
    clock.lap("G step: losses")
    optim_g.zero_grad()
    loss_g.backward()
    clock.lap("G step: backward")
    gradient_norm(g.parameters())
    clock.lap("G step: gradient norm")
    optim_g.step()
    loss_g.item(), loss_d.item()
    clock.lap("G step: AdamW")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--threads", type=int, default=0)
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    torch.manual_seed(1234)
    g, d, spectral = Generator(), Discriminator(), Spectral()
    adamw = lambda net: torch.optim.AdamW(net.parameters(), 1e-4, (0.8, 0.99), 1e-9)
    optim_g, optim_d = adamw(g), adamw(d)
    data = batch(spectral)
    step(g, d, optim_g, optim_d, spectral, data, {})
    parts = {}
    for _ in range(args.rounds):
        step(g, d, optim_g, optim_d, spectral, data, parts)
    count = {"G": sum(p.numel() for p in g.parameters()), "D": sum(p.numel() for p in d.parameters())}
    print(json.dumps({"torch": torch.__version__, "threads": torch.get_num_threads(), "parameters": count, "parts": parts}))


if __name__ == "__main__":
    main()
