"""The pages of the app, in the order in which they are listed."""

from __future__ import annotations

import streamlit as st

from app.pages import compare, coverage, ledger, policy_diff, sensitivity, start, what_if


def show() -> None:
    """Draw the page that was asked for."""
    st.set_page_config(page_title="inferbudget", layout="wide")
    pages = [
        st.Page(what_if.page, title="What-if", url_path="what-if"),
        st.Page(compare.page, title="Compare", url_path="compare"),
        st.Page(sensitivity.page, title="Sensitivity", url_path="sensitivity"),
        st.Page(policy_diff.page, title="Policy diff", url_path="policy-diff"),
        st.Page(coverage.page, title="Profiles", url_path="profiles"),
        st.Page(ledger.page, title="Ledger", url_path="ledger"),
    ]
    first = st.Page(lambda: start.page(pages), title="Start", url_path="start", default=True)
    st.navigation([first, *pages]).run()
