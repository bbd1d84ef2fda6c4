"""What a checkpoint is: its weights, inputs, layers, precision and export, and the contract its scores keep."""
