"""The model card, built from what a run recorded in results.json and from nothing else."""
