"""Commands on policy files."""
