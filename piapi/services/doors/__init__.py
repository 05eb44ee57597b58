"""Doors: what is known of them (`movement`), what is done with them (`machine`), and the words for both (`states`)."""
