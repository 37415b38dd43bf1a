"""The end-to-end example: graded tasks, two tiny language models, and a server for them."""
