"""The loop: epochs on Lightning, validation on whole images, checkpoints, a process per fold."""
