"""The one judge of scores: during training, for the report and for the card, with one record of what it found."""
