"""From the bytes of a recording to samples: decoding, speech, windows, levels, and finding audio files."""
