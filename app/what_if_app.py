"""The script that Streamlit runs: navigation between the pages."""

import sys
from pathlib import Path

import streamlit as st

# Streamlit puts the script's own folder first, where `app` would not be found as a package.
sys.path[0] = str(Path(__file__).parents[1])

from app.pages import what_if  # noqa: E402 -- after the path is mended

st.set_page_config(page_title="inferbudget", layout="wide")
st.navigation([st.Page(what_if.page, title="What-if", url_path="what-if", default=True)]).run()
