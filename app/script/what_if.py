"""The script that Streamlit runs, once for every move of a visitor."""

import sys
from pathlib import Path

# Streamlit puts the script's own folder first, where `app` would not be found as a package.
sys.path[0] = str(Path(__file__).parents[2])

from app.what_if_app import show  # noqa: E402 -- after the path is mended

show()
