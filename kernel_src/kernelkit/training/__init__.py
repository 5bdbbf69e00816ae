"""From images and labels to run folders: windows, crops, losses, the loop, checkpoints."""
