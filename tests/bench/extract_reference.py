"""HuBERT and RMVPE in Python on the CPU, timed, to be read beside `cargo xtask bench extract`.

HuBERT is the one of `transformers` (what RVC 2026 and Applio run); RMVPE is written here from the specification of the network, its
front end and its decoding. Weights are random: the arithmetic is the same for any. One clip at a time, in one pass, as the Python
programs do it. Prints one JSON object: {"torch": version, "hubert": {seconds of the clip: seconds of each round}, "rmvpe": ...}.
"""

import argparse
import json
import time

import numpy as np
import torch
import torch.nn.functional as F
import transformers
from torch import nn

RATE, HOP, N_FFT, N_MELS, BINS = 16000, 160, 1024, 128, 360


class Block(nn.Module):
    def __init__(self, i, o):
        super().__init__()
        self.conv = nn.Sequential(
            nn.Conv2d(i, o, 3, padding=1, bias=False), nn.BatchNorm2d(o), nn.ReLU(),
            nn.Conv2d(o, o, 3, padding=1, bias=False), nn.BatchNorm2d(o), nn.ReLU(),
        )
        self.shortcut = nn.Conv2d(i, o, 1) if i != o else nn.Identity()

    def forward(self, x):
        return self.conv(x) + self.shortcut(x)


def blocks(i, o):
    return nn.Sequential(Block(i, o), *(Block(o, o) for _ in range(3)))


class Decoder(nn.Module):
    def __init__(self, i, o):
        super().__init__()
        up = nn.ConvTranspose2d(i, o, 3, stride=2, padding=1, output_padding=1, bias=False)
        self.up, self.rest = nn.Sequential(up, nn.BatchNorm2d(o), nn.ReLU()), blocks(2 * o, o)

    def forward(self, x, skip):
        return self.rest(torch.cat([self.up(x), skip], 1))


class Rmvpe(nn.Module):
    def __init__(self):
        super().__init__()
        sizes = [1, 16, 32, 64, 128, 256]
        self.norm = nn.BatchNorm2d(1)
        self.encoders = nn.ModuleList(blocks(i, o) for i, o in zip(sizes, sizes[1:]))
        self.intermediate = nn.Sequential(blocks(256, 512), *(blocks(512, 512) for _ in range(3)))
        self.decoders = nn.ModuleList(Decoder(2 * o, o) for o in sizes[:0:-1])
        self.cnn = nn.Conv2d(16, 3, 3, padding=1)
        self.gru = nn.GRU(3 * N_MELS, 256, batch_first=True, bidirectional=True)
        self.fc = nn.Linear(512, BINS)
        self.register_buffer("bank", torch.rand(N_MELS, N_FFT // 2 + 1) * 0.05)
        self.register_buffer("window", torch.hann_window(N_FFT))

    def mel(self, wave):
        spectrum = torch.stft(wave, N_FFT, HOP, window=self.window, center=True, return_complex=True)
        return torch.log(torch.clamp(self.bank @ spectrum.abs(), min=1e-5))

    def forward(self, wave):
        mel = self.mel(wave)
        frames = mel.shape[-1]
        x = self.norm(F.pad(mel, (0, -frames % 32)).transpose(1, 2).unsqueeze(1))
        skips = []
        for encoder in self.encoders:
            skips.append(encoder(x))
            x = F.avg_pool2d(skips[-1], 2)
        x = self.intermediate(x)
        for decoder, skip in zip(self.decoders, reversed(skips)):
            x = decoder(x, skip)
        x = self.cnn(x).transpose(1, 2).flatten(-2)
        return torch.sigmoid(self.fc(self.gru(x)[0]))[0, :frames]


def decode(salience):
    cents = np.pad(20 * np.arange(BINS) + 1997.3794084376191, (4, 4))
    centre = salience.argmax(1) + 4
    padded = np.pad(salience, ((0, 0), (4, 4)))
    at = centre[:, None] + np.arange(-4, 5)
    near = np.take_along_axis(padded, at, 1)
    mean = (near * cents[at]).sum(1) / near.sum(1)
    mean[salience.max(1) <= 0.03] = 0
    f0 = 10 * 2 ** (mean / 1200)
    f0[f0 == 10] = 0
    return f0


def seconds_of(work, rounds):
    times = []
    for _ in range(rounds + 1):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return times[1:]


@torch.inference_mode()
def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=lambda text: [float(s) for s in text.split(",")], default=[3.7, 10.0, 40.0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=0)
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    hubert = transformers.HubertModel(transformers.HubertConfig()).eval()
    rmvpe = Rmvpe().eval()
    result = {"torch": torch.__version__, "transformers": transformers.__version__, "hubert": {}, "rmvpe": {}}
    for seconds in args.seconds:
        wave = torch.randn(1, int(seconds * RATE)) * 0.1
        result["hubert"][str(seconds)] = seconds_of(lambda: hubert(wave).last_hidden_state, args.rounds)
        result["rmvpe"][str(seconds)] = seconds_of(lambda: decode(rmvpe(wave).numpy()), args.rounds)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
