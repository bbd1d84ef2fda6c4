"""The search for an architecture (`darts_lstm`): options, supernet, search, picture."""
