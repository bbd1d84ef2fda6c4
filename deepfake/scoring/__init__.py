"""From a checkpoint and recordings to `fake_probability`: what `infer.py` and `infer.Detector` are made of."""
