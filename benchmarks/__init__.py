"""What was timed, with machine and versions."""
