"""What `train_wav2vec2.py` is made of: recipe, data, model, freeze plan, collator, trainer, record."""
