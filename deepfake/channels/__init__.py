"""What happens to speech between a mouth and a detector: codecs, telephone lines, rooms, noise, levels, edits.

Every effect takes mono float32 samples of shape (n,) at 16 kHz, full scale 1, and returns such samples. What is drawn
at random comes from the generator passed in, so equal input and seed give equal bytes. `effects.EFFECTS` names them
all: augmentation recipes and the conditions of the stress test know no other.
"""
