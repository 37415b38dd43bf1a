"""The faces of inferbudget: the command line and the what-if app."""
