"""Packets lost on the way, in bursts, and what a simple receiver plays instead."""

from __future__ import annotations

import numpy as np

from deepfake.audio.decode import SAMPLING_RATE

_PACKET = SAMPLING_RATE // 50  # 20 ms, the usual packet of voice over IP
_FADE = 0.5  # per packet in a row that is missing


def lose_packets(samples: np.ndarray, loss: float, rng: np.random.Generator, mean_burst: float = 2.0) -> np.ndarray:
    """Lose a share `loss` of the 20 ms packets; shape (n,) stays.

    Which ones follows the two-state chain of Gilbert (1960) with bursts of `mean_burst` packets on average. A missing
    packet is replaced by the last one heard at half the level, a quarter for the second in a row, and so on.
    """
    packets = -(-len(samples) // _PACKET)
    lost = lost_packets(packets, loss, mean_burst, rng)
    heard = np.pad(samples, (0, packets * _PACKET - len(samples))).reshape(packets, _PACKET).astype(np.float32)
    for i in np.flatnonzero(lost):
        heard[i] = _FADE * heard[i - 1] if i else 0.0
    return heard.reshape(-1)[: len(samples)]


def lost_packets(packets: int, loss: float, mean_burst: float, rng: np.random.Generator) -> np.ndarray:
    """Which packets are lost: bool of shape (packets,), a share `loss` in expectation, the first one included."""
    leave_bad = 1.0 / mean_burst
    enter_bad = loss * leave_bad / (1.0 - loss)
    draws = rng.random(packets)
    lost = np.zeros(packets, dtype=bool)
    bad = False
    for i, draw in enumerate(draws):
        bad = draw < (loss if i == 0 else 1.0 - leave_bad if bad else enter_bad)
        lost[i] = bad
    return lost
