"""An OpenAI-compatible server around the demo models, with a bill of its own."""

from demo.server.app import running_server

__all__ = ["running_server"]
