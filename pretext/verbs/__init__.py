"""The verbs as functions: what the command line does, from Python, with typed results."""
