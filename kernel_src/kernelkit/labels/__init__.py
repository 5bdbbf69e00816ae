"""The labels of images, whatever form they come in, read by window."""
