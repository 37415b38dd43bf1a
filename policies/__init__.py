"""The plan made enforceable: a file that people review and a graph that machines obey."""
