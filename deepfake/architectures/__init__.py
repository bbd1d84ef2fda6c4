"""Architectures made to be shipped beside their weights; each imports nothing of the project."""
