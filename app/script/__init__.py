"""What Streamlit runs. Not beside `app/pages`: it would run a folder `pages` there on its own."""
