"""The page, the REST API and the live socket over one `Detector`. Entry point: `python -m app`."""
