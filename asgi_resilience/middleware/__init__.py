"""The inbound layers: one file, one class, one page of documentation each."""
