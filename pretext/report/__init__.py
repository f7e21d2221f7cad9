"""The faces of results: pages, tables, plots."""
