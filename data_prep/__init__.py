"""Recordings in, a chunked, labelled and leak-free `datasets.DatasetDict` out: `python -m data_prep --help`."""
