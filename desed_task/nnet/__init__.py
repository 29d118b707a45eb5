"""Network blocks and the two-branch CRNN."""
