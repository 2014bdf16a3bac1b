"""Conversion in Python on the CPU, timed, to be read beside `cargo xtask bench convert`.

Only the vocoder, in one pass with weight norm in place, as RVC runs it; and all networks of a conversion: RMVPE over the whole padded
recording, HuBERT and generator chunk by chunk (38 s and a second of margin on both sides). Networks are those of step_reference.py
and extract_reference.py; weights are random. Prints one JSON object: name -> seconds of computing of each round.
"""

import argparse
import json

import torch
import transformers
from extract_reference import RATE, Rmvpe, decode, seconds_of
from step_reference import CHANNELS, SPEAKER, Coupling, TextEncoder, Vocoder

CHUNK = 38


class Generator(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.text, self.vocoder = TextEncoder(), Vocoder()
        self.flow = torch.nn.ModuleList(Coupling() for _ in range(4))

    def forward(self, phone, pitch, f0, speaker):
        mask = torch.ones(1, 1, phone.shape[1])
        mean, log_scale = self.text(phone, pitch, mask)
        z = mean + log_scale.exp() * torch.randn_like(mean) * 0.66666
        for coupling in self.flow:  # forward costs what the way back does
            z = coupling(z.flip(1), mask, speaker)
        return self.vocoder(z, f0, speaker)


@torch.inference_mode()
def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=lambda text: [float(s) for s in text.split(",")], default=[3.7, 12.0, 60.0])
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--threads", type=int, default=0)
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    generator, speaker = Generator().eval(), torch.randn(1, SPEAKER, 1)
    hubert, rmvpe = transformers.HubertModel(transformers.HubertConfig()).eval(), Rmvpe().eval()
    result = {"torch": torch.__version__, "decoder": {}, "all": {}}

    def decoded(frames):
        return generator.vocoder(torch.randn(1, CHANNELS, frames), torch.full((1, frames), 200.0), speaker)

    def converted(wave):
        f0 = torch.from_numpy(decode(rmvpe(torch.nn.functional.pad(wave, (RATE, RATE))).numpy())).float()
        for start in range(0, wave.shape[1], CHUNK * RATE):
            chunk = torch.nn.functional.pad(wave[:, start : start + CHUNK * RATE], (RATE, RATE))
            phone = hubert(chunk).last_hidden_state.repeat_interleave(2, 1)
            pitch = torch.full((1, phone.shape[1]), 100)
            generator(phone, pitch, f0[None, : phone.shape[1]].contiguous(), speaker)

    for seconds in args.seconds:
        frames = int(seconds * 100)
        result["decoder"][str(seconds)] = seconds_of(lambda: decoded(frames), args.rounds)
    longest = max(args.seconds)
    wave = torch.randn(1, int(longest * RATE)) * 0.1
    result["all"][str(longest)] = seconds_of(lambda: converted(wave), args.rounds)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
