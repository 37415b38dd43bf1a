"""The two committed models and the writer of their ONNX form; see README.md, their card."""
