"""What is logged: the schema of a line, what is taken out of it, and how it gets out of the process."""
