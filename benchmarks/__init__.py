"""What the layers cost: one question per file, answered in ratios. README.md tells how it is measured."""
