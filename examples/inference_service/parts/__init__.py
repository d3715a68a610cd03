"""The real servers, started on this machine: nothing has to be installed besides Python packages, and no account made."""
